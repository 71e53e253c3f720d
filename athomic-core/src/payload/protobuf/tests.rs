use proptest::prelude::*;

use super::*;

/// A message that holds itself, lists, maps and every kind of length.
#[derive(Clone, PartialEq, prost::Message)]
struct Tree {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, repeated, tag = "2")]
    numbers: Vec<u64>,
    #[prost(message, repeated, tag = "3")]
    branches: Vec<Tree>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    notes: std::collections::BTreeMap<String, Vec<u8>>,
}

/// What an older program knows of a `Tree`.
#[derive(Clone, PartialEq, prost::Message)]
struct Older {
    #[prost(string, tag = "1")]
    name: String,
}

fn tree() -> Tree {
    let branch = Tree {
        numbers: vec![1, u64::MAX],
        ..Tree::default()
    };
    Tree {
        name: "oak".to_owned(),
        branches: vec![branch.clone(), branch],
        notes: [("leaf".to_owned(), vec![0, 255])].into(),
        ..Tree::default()
    }
}

fn read<T: prost::Message + Default>(bytes: &[u8]) -> Result<T, prost::DecodeError> {
    T::decode(bytes)
}

fn written(message: Tree) -> Vec<u8> {
    Proto(message).encode(Format::Protobuf).unwrap()
}

/// What a handler's `Proto<Tree>` reads, by the way of a whole message.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| {
        let mut bytes = vec![0x1a];
        prost::encode_length_delimiter(inner.len(), &mut bytes).unwrap();
        bytes.extend(inner);
        bytes
    })
}

#[test]
fn messages_come_back_and_fields_that_are_not_known_pass() {
    let bytes = written(tree());
    assert_eq!(read::<Tree>(&bytes).unwrap(), tree());
    assert_eq!(read::<Older>(&bytes).unwrap().name, "oak");
}

/// The example of the format's own documentation: field 1, a varint, 150.
#[test]
fn the_bytes_are_those_of_the_format() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Test1 {
        #[prost(int32, optional, tag = "1")]
        a: Option<i32>,
    }
    let message = Proto(Test1 { a: Some(150) });
    assert_eq!(message.encode(Format::Protobuf).unwrap(), [0x08, 0x96, 0x01]);
    assert_eq!(read::<Test1>(&[0x08, 0x96, 0x01]).unwrap(), message.0);
}

#[test]
fn a_message_is_written_in_its_own_format_alone() {
    let error = Proto(tree()).encode(Format::Json).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a Protobuf message is written in `protobuf`, not in `json`"
    );
    let error = Format::Protobuf.encode("text").unwrap_err().to_string();
    assert_eq!(
        error,
        "`str` has no form in `protobuf`: put it into a `Proto`, which takes types that implement `prost::Message`"
    );
    assert!(Format::Protobuf.decode::<String>(b"text").is_err());
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    let decode = || {
        assert!(read::<Tree>(&nested(90)).is_ok());
        assert!(read::<Tree>(&nested(20_000)).is_err());
        // The same in groups, which a type that does not know them has to pass over.
        assert!(read::<Older>(&vec![0x33; 1 << 20]).is_err());
    };
    thread.spawn(decode).unwrap().join().unwrap();
}

/// Lengths of gigabytes, and nothing behind them.
#[test]
fn lengths_that_lie_take_no_memory() {
    for field in [0x0a, 0x12, 0x1a, 0x22, 0x7a] {
        let lie = [field, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1];
        let mut read_it = false;
        let measured = allocation_counter::measure(|| read_it = read::<Tree>(&lie).is_ok());
        assert!(!read_it, "{field:x}");
        assert!(measured.bytes_max < 1 << 20, "{field:x}: {measured:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        // Only that it returns counts.
        let _ = read::<Tree>(&bytes);
        let _ = read::<Older>(&bytes);
    }

    #[test]
    fn a_message_that_was_cut_or_changed_never_panics(at in 0..200_usize, with: u8, cut in 0..200_usize) {
        let mut bytes = written(tree());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(cut);
        let _ = read::<Tree>(&bytes);
    }
}
