use proptest::prelude::*;

use super::*;
use crate::payload::DecodeLimits;
use crate::payload::warnings::warnings_of;

const ALGORITHMS: [CryptoAlgorithm; 2] = CryptoAlgorithm::ALL;

fn context<'a>(topic: &'a str, key: Option<&'a [u8]>, id: Option<&'a [u8]>) -> PayloadContext<'a> {
    PayloadContext {
        topic,
        key,
        message_id: id,
        limits: DecodeLimits {
            bytes: 1 << 20,
            ratio: 1000,
        },
        encrypted_only: false,
    }
}

fn of_orders() -> PayloadContext<'static> {
    context("orders", Some(b"k"), Some(b"1"))
}

fn crypto(algorithm: CryptoAlgorithm, keys: KeyRing) -> Crypto {
    Crypto {
        algorithm,
        keys: Arc::new(keys),
        accepts_plaintext: false,
        places: Places {
            mirrors: vec!["mirror.orders".to_owned()],
            letters: ["dlq.{topic}", "parked.{group}.{topic}"]
                .map(|topic| TopicTemplate::new(topic).unwrap()),
        },
    }
}

fn key(id: &str) -> Key {
    Key::new(id, [u8::try_from(id.len()).unwrap(); 32])
}

fn sealed(crypto: &Crypto) -> Vec<u8> {
    crypto.encode(b"secret".to_vec(), &of_orders()).unwrap()
}

fn open(crypto: &Crypto, frame: &[u8], context: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
    crypto.decode(Cow::Borrowed(frame), context).map(Cow::into_owned)
}

#[track_caller]
fn check_closed(opened: Result<Vec<u8>, StepError>) {
    let error = opened.expect_err("it must not open");
    assert_eq!(error.to_string(), CLOSED);
    assert!(!error.is_retriable());
}

/// 2^32 random nonces of 96 bits are what a key bears; told at a quarter of it, and each time that they are used up.
#[test]
fn a_key_that_bore_many_messages_of_aes_is_warned_of() {
    let warned = |algorithm, used| {
        let crypto = crypto(algorithm, KeyRing::new(key("old").used(used)));
        warnings_of(|| (0..3).for_each(|_| drop(sealed(&crypto))))
    };
    for at in [1 << 30, 1 << 32, 2 << 32] {
        let [warning] = &warned(CryptoAlgorithm::Aes256Gcm, at - 2)[..] else {
            panic!("one of three messages is the last of so many: {at}");
        };
        for part in ["key=\"old\"", &format!("messages={at}"), "make a new key active"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(warned(CryptoAlgorithm::XChaCha20Poly1305, at - 2), [""; 0]);
    }
    assert_eq!(warned(CryptoAlgorithm::Aes256Gcm, 0), [""; 0]);
}

#[test]
fn what_is_sealed_opens_in_its_place_and_is_never_the_same_twice() {
    for algorithm in ALGORITHMS {
        let crypto = crypto(algorithm, KeyRing::new(key("a")));
        let (first, second) = (sealed(&crypto), sealed(&crypto));
        assert_ne!(first, second);
        assert!(!first.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&crypto, &first, &of_orders()).unwrap(), b"secret");
        assert!(crypto.label().ends_with(":a"), "{}", crypto.label());
    }
}

#[test]
fn what_is_moved_to_another_message_does_not_open() {
    for algorithm in ALGORITHMS {
        let crypto = crypto(algorithm, KeyRing::new(key("a")));
        let frame = sealed(&crypto);
        let id = Some(b"1".as_slice());
        let others = [
            context("invoices", Some(b"k"), id),
            context("orders", Some(b"l"), id),
            context("orders", Some(b""), id),
            context("orders", None, id),
            context("orders", Some(b"k"), Some(b"2")),
            context("orders", Some(b"k"), None),
            // The same bytes, divided otherwise.
            context("orders", Some(b"k1"), Some(b"")),
        ];
        for other in &others {
            check_closed(open(&crypto, &frame, other));
        }
    }
}

#[test]
fn frames_open_in_their_dead_letters_and_mirrors_and_nowhere_else() {
    let crypto = crypto(CryptoAlgorithm::default(), KeyRing::new(key("a")));
    let frame = sealed(&crypto);
    let found_in = |topic| open(&crypto, &frame, &context(topic, Some(b"k"), Some(b"1")));
    for topic in ["orders", "dlq.orders", "parked.any-group.orders", "mirror.orders"] {
        assert_eq!(found_in(topic).unwrap(), b"secret", "{topic}");
    }
    for topic in [
        "dlq.invoices",
        "parked..orders",
        "parked.any-group.invoices",
        "mirror.invoices",
    ] {
        check_closed(found_in(topic));
    }
}

#[test]
fn no_changed_bit_opens() {
    for algorithm in ALGORITHMS {
        let crypto = crypto(algorithm, KeyRing::new(key("a")));
        let frame = sealed(&crypto);
        for place in 0..frame.len() {
            let mut changed = frame.clone();
            changed[place] ^= 1;
            let opened = open(&crypto, &changed, &of_orders());
            assert!(opened.is_err(), "byte {place}");
        }
        for length in 0..frame.len() {
            assert!(
                open(&crypto, &frame[..length], &of_orders()).is_err(),
                "{length} bytes"
            );
        }
    }
}

#[test]
fn keys_are_rotated_and_algorithms_changed_without_losing_what_was_written() {
    let old = crypto(CryptoAlgorithm::Aes256Gcm, KeyRing::new(key("a")));
    let frame = sealed(&old);
    let new = crypto(
        CryptoAlgorithm::XChaCha20Poly1305,
        KeyRing::new(key("bb")).with(key("a")),
    );
    assert_eq!(open(&new, &frame, &of_orders()).unwrap(), b"secret");
    assert!(new.label().ends_with(":bb"));
    let error = open(&old, &sealed(&new), &of_orders()).unwrap_err();
    assert!(error.is_retriable(), "the key may be on its way: {error}");
}

#[test]
fn a_wrong_key_under_a_known_id_does_not_open() {
    let crypto_of = |bytes| {
        crypto(
            CryptoAlgorithm::default(),
            KeyRing::new(Key::new("a", [bytes; 32])),
        )
    };
    let frame = sealed(&crypto_of(1));
    check_closed(open(&crypto_of(2), &frame, &of_orders()));
}

#[test]
fn plaintext_passes_only_where_it_is_accepted() {
    let mut crypto = crypto(CryptoAlgorithm::default(), KeyRing::new(key("a")));
    assert!(
        open(&crypto, b"{}", &of_orders())
            .unwrap_err()
            .to_string()
            .contains("not encrypted")
    );
    crypto.accepts_plaintext = true;
    assert_eq!(open(&crypto, b"{}", &of_orders()).unwrap(), b"{}");
    let strict = PayloadContext {
        encrypted_only: true,
        ..of_orders()
    };
    assert!(open(&crypto, b"{}", &strict).is_err());
}

#[test]
fn nothing_shows_a_key() {
    let crypto = crypto(
        CryptoAlgorithm::default(),
        KeyRing::new(Key::new("a", [0xab; 32])),
    );
    let shown = format!("{crypto:?} {:#?}", crypto.keys);
    for form in ["171", "ab, ", "abab", "\\xab"] {
        assert!(!shown.contains(form), "{shown}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(mut tail in proptest::collection::vec(any::<u8>(), 0..200), with_head: bool) {
        let crypto = crypto(CryptoAlgorithm::default(), KeyRing::new(key("a")));
        let mut bytes = if with_head { b"\xa7ath\x01\x01\x01a\x06orders".to_vec() } else { b"\xa7ath".to_vec() };
        bytes.append(&mut tail);
        prop_assert!(open(&crypto, &bytes, &of_orders()).is_err());
    }

    #[test]
    fn any_payload_comes_back(payload: Vec<u8>, key: Option<Vec<u8>>, id: Option<Vec<u8>>, aes: bool) {
        let algorithm = ALGORITHMS[usize::from(aes)];
        let crypto = crypto(algorithm, KeyRing::new(super::tests::key("a")));
        let context = context("t", key.as_deref(), id.as_deref());
        let frame = crypto.encode(payload.clone(), &context).unwrap();
        prop_assert_eq!(open(&crypto, &frame, &context).unwrap(), payload);
    }
}
