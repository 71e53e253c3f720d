//! Tests of what is warned of: it works, and is unwise.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::build::{PayloadSteps, Payloads};
use super::compression::NAME as COMPRESSION;
use super::{PayloadContext, PayloadStep, Step, StepError};
use crate::settings::Settings;

/// Keeps the warnings of a thread, each as the text of its fields.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Return what is warned of meanwhile.
pub(super) fn warnings_of(run: impl FnOnce()) -> Vec<String> {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), run);
    let warned = warnings.0.lock().unwrap();
    warned.clone()
}

/// Stands for the steps that are built in, so that these tests need no feature.
#[derive(Debug)]
struct Nothing;

impl PayloadStep for Nothing {
    fn label(&self) -> std::borrow::Cow<'_, str> {
        "nothing".into()
    }

    fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        Ok(payload)
    }

    fn decode<'p>(
        &self,
        payload: std::borrow::Cow<'p, [u8]>,
        _: &PayloadContext<'_>,
    ) -> Result<std::borrow::Cow<'p, [u8]>, StepError> {
        Ok(payload)
    }
}

/// Check that pipelines are built of these steps, and what is warned of.
#[track_caller]
fn check(steps: &[&str], producer: &str, expected: &[&str]) {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| format!("{{ step = '{step}' }}"))
        .collect();
    let text = format!(
        "[integration.messaging.payload]\npipeline = [{}]\n[integration.messaging.producer]\n{producer}\n\
         [security.crypto]\nactive_key = 'k'\nkeys = [{{ id = 'k', secret = '{}' }}]\n",
        steps.join(", "),
        "7e".repeat(32),
    );
    let none: [(&str, &str); 0] = [];
    let loaded = Settings::loader()
        .text("test.toml", text)
        .environment(none)
        .load();
    let settings = loaded.unwrap().settings;
    let mut registered = PayloadSteps::default();
    for name in [COMPRESSION, "crypto"] {
        registered.register(name.to_owned(), |_| Some(Step::immediate(Nothing)));
    }
    let warned = warnings_of(|| assert!(Payloads::new(&settings, &registered, None).is_ok()));
    assert_eq!(warned.len(), expected.len(), "{warned:?}");
    for (warning, expected) in warned.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning}");
        assert!(warning.contains("test.toml:"), "where it is written: {warning}");
    }
}

#[test]
fn an_order_that_serves_nothing_is_warned_of() {
    let after = ["compression gains nothing after `crypto`"];
    check(&["serializer", COMPRESSION, "crypto"], "", &[]);
    check(&["serializer", "crypto", COMPRESSION], "", &after);
    check(&["serializer", "crypto"], "wire_compression = 'zstd'", &[]);
    check(&["serializer", COMPRESSION], "wire_compression = 'none'", &[]);
    check(
        &["serializer", COMPRESSION],
        "wire_compression = 'zstd'",
        &["again by `wire_compression`: one of the two is enough"],
    );
}
