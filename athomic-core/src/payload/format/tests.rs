use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn order() -> Order {
    Order {
        id: 42,
        name: "bolt".to_owned(),
        note: None,
    }
}

fn of_structs() -> impl Iterator<Item = Format> {
    let formats = Format::ALL.into_iter();
    formats.filter(|format| format.is_built_in() && format.is_of_serde() && *format != Format::Raw)
}

#[test]
fn values_come_back() {
    for format in of_structs() {
        let bytes = format.encode(&order()).unwrap();
        assert_eq!(format.decode::<Order>(&bytes).unwrap(), order(), "{format}");
    }
}

/// Fields go by their names, so that one may be added and another language may read them.
#[test]
fn structs_are_maps_and_unknown_fields_pass() {
    let newer = BTreeMap::from([("id", "1"), ("new", "x")]);
    #[derive(Deserialize)]
    struct Older {
        id: String,
    }
    for format in of_structs() {
        let bytes = format.encode(&newer).unwrap();
        assert_eq!(format.decode::<Older>(&bytes).unwrap().id, "1", "{format}");
    }
}

#[test]
fn bytes_left_over_are_refused() {
    for format in of_structs() {
        let mut bytes = format.encode(&order()).unwrap();
        bytes.push(b'1');
        assert!(format.decode::<Order>(&bytes).is_err(), "{format}");
    }
}

#[test]
fn raw_takes_bytes_and_text_and_nothing_else() {
    let bytes = vec![0_u8, 255, 7];
    assert_eq!(Format::Raw.encode(&bytes).unwrap(), bytes);
    assert_eq!(Format::Raw.decode::<Vec<u8>>(&bytes).unwrap(), bytes);
    assert_eq!(Format::Raw.encode("text").unwrap(), b"text");
    assert_eq!(Format::Raw.decode::<String>(b"text").unwrap(), "text");
    assert_eq!(
        Format::Raw.decode::<Option<Vec<u8>>>(&bytes).unwrap(),
        Some(bytes.clone())
    );
    assert!(Format::Raw.decode::<String>(&bytes).is_err());
    assert!(Format::Raw.decode::<Order>(&bytes).is_err());
    assert!(Format::Raw.encode(&order()).is_err());
    assert!(Format::Raw.encode(&vec!["text"]).is_err());
    assert!(Format::Raw.encode(&vec![bytes]).is_err());
    assert!(Format::Raw.encode(&7_u8).is_err());
}

#[test]
fn content_types_name_formats() {
    for format in Format::ALL {
        assert_eq!(
            Format::from_content_type(format.content_type().as_bytes()),
            Some(format)
        );
        assert_eq!(Format::from_word(format.as_str()), Some(format));
    }
    assert_eq!(
        Format::from_content_type(b"Application/JSON; charset=utf-8"),
        Some(Format::Json)
    );
    assert_eq!(
        Format::from_content_type(b"application/x-msgpack"),
        Some(Format::MessagePack)
    );
    assert_eq!(Format::from_content_type(b"text/plain"), None);
    assert_eq!(Format::from_word("orjson"), Some(Format::Json));
    assert_eq!(Format::from_word("pickle"), None);
}

/// A value of any shape: what reads the most of any bytes.
type Any = serde_json::Value;

/// Decode on a small stack, which an unbounded recursion would overflow: that would end the whole process.
fn decode_on_a_small_stack(format: Format, bytes: Vec<u8>) -> bool {
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    let decode = move || format.decode::<Any>(&bytes).is_ok();
    thread.spawn(decode).unwrap().join().unwrap()
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    // An array of one array of one array...
    let nested = [
        (Format::Json, b'['),
        (Format::MessagePack, 0x91),
        (Format::Cbor, 0x81),
    ];
    for (format, opening) in nested.into_iter().filter(|(format, _)| format.is_built_in()) {
        assert!(
            !decode_on_a_small_stack(format, vec![opening; 1 << 20]),
            "{format}"
        );
    }
    let shallow = [vec![0x91; 100], vec![0xc0]].concat();
    if Format::MessagePack.is_built_in() {
        assert!(decode_on_a_small_stack(Format::MessagePack, shallow));
    }
}

/// Lengths of four gigabytes, and nothing behind them.
#[test]
fn lengths_that_lie_take_no_memory() {
    let lies: [(Format, &[u8]); 8] = [
        (Format::MessagePack, &[0xdd, 0xff, 0xff, 0xff, 0xff]),
        (Format::MessagePack, &[0xdf, 0xff, 0xff, 0xff, 0xff]),
        (Format::MessagePack, &[0xdb, 0xff, 0xff, 0xff, 0xff, b'x']),
        (Format::MessagePack, &[0xc6, 0xff, 0xff, 0xff, 0xff, b'x']),
        (Format::Cbor, &[0x9a, 0xff, 0xff, 0xff, 0xff]),
        (Format::Cbor, &[0xba, 0xff, 0xff, 0xff, 0xff]),
        (Format::Cbor, &[0x7a, 0xff, 0xff, 0xff, 0xff, b'x']),
        (Format::Cbor, &[0x5a, 0xff, 0xff, 0xff, 0xff, b'x']),
    ];
    for (format, bytes) in lies.into_iter().filter(|(format, _)| format.is_built_in()) {
        let (mut any, mut list) = (false, false);
        let measured = allocation_counter::measure(|| {
            any = format.decode::<Any>(bytes).is_ok();
            list = format.decode::<Vec<u64>>(bytes).is_ok();
        });
        assert!(!any && !list, "{format} {bytes:x?}");
        assert!(measured.bytes_max < 4 << 20, "{format} {bytes:x?}: {measured:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        for format in Format::ALL {
            // Only that it returns counts.
            let _ = format.decode::<Any>(&bytes);
            let _ = format.decode::<Order>(&bytes);
            let _ = format.decode::<Vec<Option<String>>>(&bytes);
        }
    }

    #[test]
    fn any_order_comes_back(id: u64, name: String, note: Option<String>) {
        let order = Order { id, name, note };
        for format in of_structs() {
            let bytes = format.encode(&order).unwrap();
            prop_assert_eq!(format.decode::<Order>(&bytes).unwrap(), order.clone());
        }
    }
}
