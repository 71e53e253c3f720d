use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// A tree with every kind of length, and what costs no bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tree {
    name: String,
    numbers: Vec<i64>,
    notes: BTreeMap<String, String>,
    parent: Option<Box<Tree>>,
    nothing: Vec<()>,
}

impl AvroSchema for Tree {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Tree", "fields": [
        {"name": "name", "type": "string"},
        {"name": "numbers", "type": {"type": "array", "items": "long"}},
        {"name": "notes", "type": {"type": "map", "values": "string"}},
        {"name": "parent", "type": ["null", "Tree"]},
        {"name": "nothing", "type": {"type": "array", "items": "null"}}
    ]}"#;
}

fn tree(depth: usize) -> Tree {
    Tree {
        name: "oak".to_owned(),
        numbers: vec![0, -1, i64::MAX, i64::MIN],
        notes: [("leaf".to_owned(), "green".to_owned())].into(),
        parent: depth.checked_sub(1).map(|depth| Box::new(tree(depth))),
        nothing: vec![(); 3],
    }
}

fn write<T: AvroSchema + Serialize + 'static>(value: T) -> Vec<u8> {
    Avro(value).encode(Format::Avro).unwrap()
}

fn read<T: AvroSchema + DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, String> {
    let read = schemas_of::<T>().and_then(|schemas| schemas.read(bytes));
    read.map_err(|error| error.to_string())
}

/// Return these bytes as a datum of `Tree`.
fn datum(bytes: &[u8]) -> Vec<u8> {
    [&write(tree(0))[..10], bytes].concat()
}

#[test]
fn values_come_back() {
    for depth in [0, 1, 40] {
        assert_eq!(read::<Tree>(&write(tree(depth))).unwrap(), tree(depth));
    }
}

/// The example of the specification: a record of the long 27 and the text `foo`; and the fingerprint that it states
/// for the schema `"null"`, in the order of bytes in which single objects have it.
#[test]
fn the_bytes_are_those_of_the_specification() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename = "test")]
    struct Test {
        a: i64,
        b: String,
    }
    impl AvroSchema for Test {
        const SCHEMA: &'static str = r#"{"type": "record", "name": "test", "fields":
            [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}]}"#;
    }
    let value = || Test {
        a: 27,
        b: "foo".to_owned(),
    };
    let bytes = write(value());
    assert_eq!(bytes[..2], [0xc3, 0x01]);
    assert_eq!(bytes[10..], [0x36, 0x06, 0x66, 0x6f, 0x6f]);
    assert_eq!(read::<Test>(&bytes).unwrap(), value());
    let null = parse("\"null\"").unwrap();
    assert_eq!(header_of(null)[2..], 0x63dd_24e7_cc25_8f8a_u64.to_le_bytes());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Paid")]
struct First {
    order: String,
    cents: i32,
    gone: bool,
}

impl AvroSchema for First {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Paid", "fields": [
        {"name": "order", "type": "string"},
        {"name": "cents", "type": "int"},
        {"name": "gone", "type": "boolean"}
    ]}"#;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Paid")]
struct Second {
    cents: i64,
    order: String,
    currency: String,
}

impl AvroSchema for Second {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Paid", "fields": [
        {"name": "cents", "type": "long"},
        {"name": "order", "type": "string"},
        {"name": "currency", "type": "string", "default": "EUR"}
    ]}"#;
    const WRITTEN_BY: &'static [&'static str] = &[First::SCHEMA];
}

/// By name, promotion and default; what is gone is passed over.
#[test]
fn what_an_older_schema_wrote_is_brought_to_the_type() {
    let first = First {
        order: "a".to_owned(),
        cents: 150,
        gone: true,
    };
    let second = Second {
        cents: 150,
        order: "a".to_owned(),
        currency: "EUR".to_owned(),
    };
    assert_eq!(read::<Second>(&write(first)).unwrap(), second);
    assert_eq!(read::<Second>(&write(second)).unwrap().currency, "EUR");
}

#[test]
fn what_nobody_can_know_is_refused() {
    let bytes = write(Second {
        cents: 1,
        order: String::new(),
        currency: String::new(),
    });
    let error = read::<First>(&bytes).unwrap_err();
    assert!(
        error.contains("a schema that is not known, with the fingerprint"),
        "{error}"
    );
    assert!(error.contains("add that one to `WRITTEN_BY`"), "{error}");
    assert!(read::<First>(b"{}").unwrap_err().contains("with the bytes c3 01"));
    assert!(read::<First>(&bytes[..7]).unwrap_err().contains("fingerprint"));
    let mut more = bytes.clone();
    more.push(0);
    let error = read::<Second>(&more).unwrap_err();
    assert_eq!(error, "1 bytes are left over after the value");
    let error = Avro(tree(0)).encode(Format::Json).unwrap_err().to_string();
    assert!(error.contains("written in `avro`, not in `json`"), "{error}");
}

#[test]
fn a_schema_that_cannot_be_used_is_told_when_the_application_is_built() {
    #[derive(Serialize, Deserialize)]
    struct Wrong;
    impl AvroSchema for Wrong {
        const SCHEMA: &'static str = "{";
    }
    #[derive(Serialize, Deserialize)]
    struct Apart;
    impl AvroSchema for Apart {
        const SCHEMA: &'static str = First::SCHEMA;
        const WRITTEN_BY: &'static [&'static str] = &[First::SCHEMA, "\"string\""];
    }
    #[derive(Serialize, Deserialize)]
    struct Renamed;
    impl AvroSchema for Renamed {
        const SCHEMA: &'static str = r#"["null", {"type": "record", "name": "Paid", "fields": [
            {"name": "amount", "type": "long", "aliases": ["cents"]}]}]"#;
        const WRITTEN_BY: &'static [&'static str] = &[First::SCHEMA];
    }
    let error = |checked: Result<(), BoxError>| checked.unwrap_err().to_string();
    let wrong = error(<Avro<Wrong> as Payload>::check());
    assert!(wrong.starts_with("`SCHEMA` is no Avro schema: "), "{wrong}");
    let apart = error(<crate::payload::Nullable<Avro<Apart>> as Payload>::check());
    assert!(apart.starts_with("`WRITTEN_BY[1]` cannot be read: "), "{apart}");
    let renamed = error(<Avro<Renamed> as Payload>::check());
    assert!(renamed.contains("`aliases`, which are not followed"), "{renamed}");
    assert!(<Avro<Tree> as Payload>::check().is_ok());
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    // Trees in trees: an empty name, empty lists, and the parent's variant.
    let deep = datum(&[0, 0, 0, 2].repeat(200_000));
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let decode = move || {
        let error = read::<Tree>(&deep).unwrap_err();
        assert_eq!(error, "it is nested deeper than 128");
        assert!(read::<Tree>(&write(tree(100))).is_ok());
    };
    thread.spawn(decode).unwrap().join().unwrap();
}

/// Lengths and counts of gigabytes and more, and nothing behind them; and lists of what takes no bytes.
#[test]
fn lengths_that_lie_take_no_memory() {
    const HUGE: &[u8] = &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let lies: [(&[&[u8]], &str); 6] = [
        (&[HUGE], "ends too early"),
        (&[&[1]], "a length is negative"),
        (&[&[0], HUGE, &[2, 4]], "ends too early"),
        (&[&[0, 0], HUGE, HUGE], "ends too early"),
        (&[&[0, 0, 0, 0], HUGE], "too many values that take no bytes"),
        (&[&[0, 0, 0, 6]], "a union has no such variant"),
    ];
    for (lie, expected) in lies {
        let lie = datum(&lie.concat());
        let mut error = String::new();
        let measured = allocation_counter::measure(|| error = read::<Tree>(&lie).unwrap_err());
        assert!(error.contains(expected), "{lie:x?}: {error}");
        assert!(measured.bytes_max < 1 << 20, "{lie:x?}: {measured:?}");
    }
}

/// Blocks that say their size, as other writers write them.
#[test]
fn blocks_with_their_size_are_read() {
    let bytes = datum(&[0, 3, 4, 2, 4, 2, 6, 0, 0, 0, 0]);
    assert_eq!(read::<Tree>(&bytes).unwrap().numbers, [1, 2, 3]);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        // Only that it returns counts.
        let _ = read::<Tree>(&bytes);
        let _ = read::<Tree>(&datum(&bytes));
        let header = write(First { order: String::new(), cents: 0, gone: false });
        let _ = read::<Second>(&[&header[..10], &bytes].concat());
    }

    #[test]
    fn a_value_that_was_cut_or_changed_never_panics(at in 10..200_usize, with: u8, cut in 10..200_usize) {
        let mut bytes = write(tree(3));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(cut);
        let _ = read::<Tree>(&bytes);
    }

    #[test]
    fn any_tree_comes_back(name: String, numbers: Vec<i64>, notes: BTreeMap<String, String>) {
        let value = Tree { name, numbers, notes, ..tree(1) };
        prop_assert_eq!(read::<Tree>(&write(value.clone())).unwrap(), value);
    }
}
