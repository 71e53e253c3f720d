//! Checks events against the specification's JSON Schemas.

use std::sync::LazyLock;

use athomic_core::lineage::{Facets, LineageEvent};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// The specification, and the facets by their names.
const SCHEMAS: &[(&str, &str)] = &[
    ("", include_str!("../../openlineage/OpenLineage.json")),
    ("jobType", include_str!("../../openlineage/JobTypeJobFacet.json")),
    (
        "processing_engine",
        include_str!("../../openlineage/ProcessingEngineRunFacet.json"),
    ),
    (
        "errorMessage",
        include_str!("../../openlineage/ErrorMessageRunFacet.json"),
    ),
    ("parent", include_str!("../../openlineage/ParentRunFacet.json")),
    ("tags", include_str!("../../openlineage/TagsRunFacet.json")),
    (
        "inputStatistics",
        include_str!("../../openlineage/InputStatisticsInputDatasetFacet.json"),
    ),
    (
        "outputStatistics",
        include_str!("../../openlineage/OutputStatisticsOutputDatasetFacet.json"),
    ),
];

struct Schemas {
    event: Validator,
    facets: Vec<(&'static str, Value, Validator)>,
}

static COMPILED: LazyLock<Schemas> = LazyLock::new(|| {
    let parsed: Vec<(&str, Value)> = SCHEMAS
        .iter()
        .map(|(name, text)| (*name, serde_json::from_str(text).unwrap()))
        .collect();
    let id = |schema: &Value| schema["$id"].as_str().unwrap().to_owned();
    let mut registry = Registry::new();
    for (_, schema) in &parsed {
        registry = registry.add(id(schema), schema.clone()).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let compile = |schema: &Value| {
        let options = jsonschema::options()
            .with_registry(&registry)
            .should_validate_formats(true);
        options.build(schema).unwrap()
    };
    let event = json!({ "$ref": format!("{}#/$defs/RunEvent", id(&parsed[0].1)) });
    let facets = parsed[1..].iter();
    Schemas {
        event: compile(&event),
        facets: facets
            .map(|(name, schema)| (*name, schema["$id"].clone(), compile(schema)))
            .collect(),
    }
});

/// Check an event, and each of its facets by the facet's own schema.
pub(super) fn assert_valid(event: &LineageEvent) {
    let value = serde_json::to_value(event).unwrap();
    COMPILED
        .event
        .validate(&value)
        .unwrap_or_else(|error| panic!("{error}: {value:#}"));
    assert_valid_facets(&event.run.facets);
    assert_valid_facets(&event.job.facets);
    for dataset in event.inputs.iter().chain(&event.outputs) {
        assert_valid_facets(&dataset.input_facets);
        assert_valid_facets(&dataset.output_facets);
    }
}

fn assert_valid_facets(facets: &Facets) {
    for (name, facet) in facets {
        let known = COMPILED.facets.iter().find(|(known, ..)| known == name);
        let (_, id, schema) = known.unwrap_or_else(|| panic!("no schema of facet {name}"));
        let url = facet["_schemaURL"].as_str().unwrap();
        assert!(url.starts_with(id.as_str().unwrap()), "{url} is not of {id}");
        let named = json!({ name: facet });
        schema
            .validate(&named)
            .unwrap_or_else(|error| panic!("{error}: {named:#}"));
    }
}

#[test]
fn what_is_no_run_event_is_told() {
    let result = std::panic::catch_unwind(|| {
        let event: Result<LineageEvent, _> = serde_json::from_value(json!({
            "eventTime": "yesterday", "producer": "p:p", "schemaURL": "s:s",
            "run": { "runId": "1" }, "job": { "namespace": "n", "name": "j" },
        }));
        assert_valid(&event.unwrap());
    });
    assert!(result.is_err(), "the check can fail");
}
