use super::*;
use crate::payload::DecodeLimits;

const LIMITS: DecodeLimits = DecodeLimits {
    bytes: 16 << 20,
    ratio: 1000,
};

fn context(limits: DecodeLimits) -> PayloadContext<'static> {
    PayloadContext {
        topic: "t",
        key: None,
        message_id: None,
        limits,
        encrypted_only: false,
    }
}

fn built_in() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_built_in())
}

fn compression(backend: Backend, min_bytes: usize) -> Compression {
    let level = backend.levels().map_or(0, |(_, _, usual)| usual);
    Compression {
        backend,
        level: u32::try_from(level).unwrap(),
        min_bytes,
    }
}

fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<Cow<'_, [u8]>, StepError> {
    let step = compression(Backend::Zstd, 0);
    step.decode(Cow::Borrowed(bytes), &context(limits))
}

#[test]
fn what_is_compressed_comes_back_whatever_the_backend_is_now() {
    let text = "all work and no play ".repeat(500).into_bytes();
    for backend in built_in() {
        let sealed = compression(backend, 0)
            .encode(text.clone(), &context(LIMITS))
            .unwrap();
        assert!(
            sealed.starts_with(backend.magic()) && sealed.len() < text.len() / 2,
            "{backend:?}"
        );
        assert_eq!(decode(&sealed, LIMITS).unwrap(), text, "{backend:?}");
    }
}

#[test]
fn small_payloads_pass_without_a_copy() {
    for backend in built_in() {
        let small = br#"{"id":1}"#.to_vec();
        let sealed = compression(backend, 1024)
            .encode(small.clone(), &context(LIMITS))
            .unwrap();
        assert_eq!(sealed, small);
        assert!(matches!(decode(&sealed, LIMITS).unwrap(), Cow::Borrowed(_)));
    }
}

#[test]
fn what_looks_compressed_is_compressed_however_small() {
    for backend in built_in() {
        for looks_like in built_in() {
            let payload = [looks_like.magic(), b"?"].concat();
            let sealed = compression(backend, 1024)
                .encode(payload.clone(), &context(LIMITS))
                .unwrap();
            assert_eq!(
                decode(&sealed, LIMITS).unwrap(),
                payload,
                "{backend:?}, {looks_like:?}"
            );
        }
    }
}

#[test]
fn what_does_not_become_smaller_stays() {
    let noise: Vec<u8> = (0..4096_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    for backend in built_in() {
        let sealed = compression(backend, 0)
            .encode(noise.clone(), &context(LIMITS))
            .unwrap();
        assert!(sealed.len() <= noise.len());
        assert_eq!(decode(&sealed, LIMITS).unwrap(), noise);
    }
}

#[test]
fn bombs_are_refused_by_size_and_by_ratio() {
    let zeros = vec![0; 10 << 20];
    let check = |bomb: &[u8], limits: DecodeLimits, most: usize| match decode(bomb, limits) {
        Err(StepError::TooLarge { limit }) => assert_eq!(limit, most),
        other => panic!("{other:?}"),
    };
    for backend in built_in() {
        let bomb = backend.compress(&zeros, 1).unwrap();
        check(
            &bomb,
            DecodeLimits {
                bytes: 8 << 20,
                ratio: usize::MAX,
            },
            8 << 20,
        );
        let by_ratio = DecodeLimits {
            bytes: usize::MAX,
            ratio: 2,
        };
        check(&bomb, by_ratio, (bomb.len() * 2).max(1 << 20));
    }
}

#[test]
fn truncated_and_damaged_data_is_malformed() {
    let text = "all work and no play ".repeat(500).into_bytes();
    for backend in built_in() {
        let whole = backend.compress(&text, 1).unwrap();
        for cut in [backend.magic().len(), whole.len() / 2] {
            match decode(&whole[..cut], LIMITS) {
                Err(StepError::Malformed { .. }) => {}
                // Snappy's frames have no end: one that is cut between two chunks is a shorter one.
                Ok(opened) => assert!(
                    backend == Backend::Snappy && opened.len() < text.len(),
                    "{backend:?} {cut}"
                ),
                other => panic!("{backend:?}: {other:?}"),
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_decoded_within_the_limit_or_refused(
        backend in 0..Backend::ALL.len(),
        mut tail in proptest::collection::vec(proptest::num::u8::ANY, 0..2000),
    ) {
        let mut bytes = Backend::ALL[backend].magic().to_vec();
        bytes.append(&mut tail);
        if let Ok(opened) = decode(&bytes, DecodeLimits { bytes: 1 << 16, ratio: 1000 }) {
            proptest::prop_assert!(opened.len() <= 1 << 16);
        }
    }

    /// One byte of whole data is changed.
    #[test]
    fn changed_bytes_are_decoded_within_the_limit_or_refused(
        backend in 0..Backend::ALL.len(),
        place in proptest::num::usize::ANY,
        byte in proptest::num::u8::ANY,
    ) {
        let backend = Backend::ALL[backend];
        if backend.is_built_in() {
            let mut bytes = backend.compress(&b"to be or not to be".repeat(100), 1).unwrap();
            let place = place % bytes.len();
            bytes[place] = byte;
            if let Ok(opened) = decode(&bytes, DecodeLimits { bytes: 1 << 16, ratio: 1000 }) {
                proptest::prop_assert!(opened.len() <= 1 << 16);
            }
        }
    }
}
