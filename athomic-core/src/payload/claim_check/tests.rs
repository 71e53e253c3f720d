use std::sync::Arc;

use object_store::memory::InMemory;
use proptest::prelude::*;

use super::*;
use crate::payload::DecodeLimits;

fn context(bytes: usize) -> PayloadContext<'static> {
    PayloadContext {
        topic: "t",
        key: None,
        message_id: None,
        limits: DecodeLimits { bytes, ratio: 1000 },
        encrypted_only: false,
    }
}

fn claim_check(store: &Arc<InMemory>) -> ClaimCheck {
    ClaimCheck {
        objects: Objects {
            store: Arc::clone(store) as _,
            place: "the store in memory".into(),
            is_checked: false,
        },
        prefix: Path::from("claims"),
        threshold: 100,
        timeout: Duration::from_secs(30),
    }
}

const LARGE: [u8; 200] = [7; 200];

async fn encode(step: &ClaimCheck, payload: &[u8]) -> Vec<u8> {
    AsyncPayloadStep::encode(step, payload.to_vec(), &context(1000))
        .await
        .unwrap()
}

async fn decode(step: &ClaimCheck, reference: &[u8]) -> Result<Vec<u8>, StepError> {
    AsyncPayloadStep::decode(step, reference, &context(1000)).await
}

#[tokio::test]
async fn large_payloads_stand_in_the_store_and_small_ones_in_the_record() {
    let store = Arc::new(InMemory::new());
    let step = claim_check(&store);
    assert_eq!(encode(&step, &LARGE[..99]).await, LARGE[..99]);
    let reference = encode(&step, &LARGE).await;
    assert_eq!(reference.len(), REFERENCE);
    assert!(!AsyncPayloadStep::is_mine(&step, &LARGE) && AsyncPayloadStep::is_mine(&step, &reference));
    assert_eq!(decode(&step, &reference).await.unwrap(), LARGE);
    assert_ne!(
        encode(&step, &LARGE).await,
        reference,
        "each has an object of its own"
    );
}

#[tokio::test]
async fn what_looks_like_a_reference_is_put_into_the_store_however_small() {
    let step = claim_check(&Arc::new(InMemory::new()));
    let reference = encode(&step, &MAGIC).await;
    assert_eq!(decode(&step, &reference).await.unwrap(), MAGIC);
}

#[tokio::test]
async fn an_object_that_is_gone_or_another_one_is_refused() {
    let store = Arc::new(InMemory::new());
    let step = claim_check(&store);
    let reference = encode(&step, &LARGE).await;
    let place = step.place_of(Reference::read(&reference).unwrap().id);
    for other in [&[8; 200][..], &LARGE[..199], &[]] {
        store.put(&place, other.to_vec().into()).await.unwrap();
        let error = decode(&step, &reference).await.unwrap_err();
        assert!(
            !error.is_retriable() && error.to_string().contains("not the payload"),
            "{error}"
        );
    }
    store.delete(&place).await.unwrap();
    let error = decode(&step, &reference).await.unwrap_err();
    assert!(
        !error.is_retriable() && error.to_string().contains("any more"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_fetched() {
    let step = claim_check(&Arc::new(InMemory::new()));
    let huge = Reference {
        id: Uuid::nil(),
        size: 1001,
        digest: [0; 32],
    };
    let error = decode(&step, &huge.write()).await.unwrap_err();
    assert!(matches!(error, StepError::TooLarge { limit: 1000 }), "{error}");
}

/// A store that never answers.
#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_tried_again() {
    let step = claim_check(&Arc::new(InMemory::new()));
    let error = step
        .ask(std::future::pending::<Result<(), Error>>())
        .await
        .unwrap_err();
    assert!(
        error.is_retriable() && error.to_string().contains("30000 ms"),
        "{error}"
    );
}

#[test]
fn references_name_objects_below_the_prefix_and_nothing_else() {
    let step = claim_check(&Arc::new(InMemory::new()));
    let place = step.place_of(Uuid::from_bytes(*b"../../etc/passwd"));
    assert_eq!(place.to_string(), "claims/2e2e2f2e2e2f6574632f706173737764");
    for hostile in [
        &b"\xa7clm\x01file:///etc/passwd"[..],
        b"\xa7clm",
        b"\xa7clm\x02",
        &[0xa7; REFERENCE + 1],
    ] {
        assert!(Reference::read(hostile).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_reference_or_refused(bytes: Vec<u8>, id: [u8; 16], size: u64, digest: [u8; 32]) {
        let _ = Reference::read(&bytes);
        let reference = Reference { id: Uuid::from_bytes(id), size, digest };
        prop_assert_eq!(Reference::read(&reference.write()).unwrap(), reference);
    }
}
