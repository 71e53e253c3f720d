//! Merging, as properties.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{loader, with_variables};
use crate::settings::Settings;
use crate::settings::error::Origin;
use crate::settings::tree::{Entry, Node, Table, merge};

/// Values by section and key.
type Layer = BTreeMap<(u8, u8), i64>;

fn layer() -> impl Strategy<Value = Layer> {
    prop::collection::btree_map((0..3_u8, 0..3_u8), any::<i64>(), 0..9)
}

fn table(layer: &Layer) -> Table {
    let mut root = Table::new();
    for ((section, key), value) in layer {
        let value = Entry::new(Node::Integer((*value).into()), &Origin::BuiltIn);
        let fields = Node::Table(Table::from([(key.to_string(), value)]));
        merge(
            &mut root,
            Table::from([(section.to_string(), Entry::new(fields, &Origin::BuiltIn))]),
        );
    }
    root
}

fn shown(root: Table) -> String {
    Node::Table(root).shown()
}

fn merged(mut lower: Table, upper: Table) -> Table {
    merge(&mut lower, upper);
    lower
}

proptest! {
    #[test]
    fn each_key_has_the_value_of_the_highest_layer_that_sets_it(layers in prop::collection::vec(layer(), 0..5)) {
        let merged = layers.iter().map(table).fold(Table::new(), merged);
        let model = layers.into_iter().fold(Layer::new(), |mut all, layer| { all.extend(layer); all });
        prop_assert_eq!(shown(merged), shown(table(&model)));
    }

    #[test]
    fn layers_may_be_merged_in_any_grouping(a in layer(), b in layer(), c in layer()) {
        let left = merged(merged(table(&a), table(&b)), table(&c));
        let right = merged(table(&a), merged(table(&b), table(&c)));
        prop_assert_eq!(shown(left), shown(right));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z\\[\\]{}='\"#.\n 0-9]{0,60}") {
        let _ = loader(&text).load();
        let _ = with_variables("", &[("ATHOMIC_INTEGRATION__MESSAGING__CONSUMER", &text)]).load();
        let _ = Settings::default().explain(&text);
    }
}
