//! Payloads of a batch that stand elsewhere: fetched side by side, handled in their order.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::payload::{AsyncPayloadStep, PayloadContext, Step, StepError};
use tokio::time::{Instant, sleep};

use crate::support::{Cluster, handler};

/// How many payloads may be opened at once.
const AT_ONCE: usize = 16;
const MESSAGES: u64 = 40;
/// The one that is broken.
const BROKEN: u64 = 7;

/// A step whose payloads stand on a shelf, from which later ones come sooner.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<Opened>>);

#[derive(Debug, Default)]
struct Opened {
    now: usize,
    most: usize,
}

impl AsyncPayloadStep for Shelf {
    fn label(&self) -> Cow<'_, str> {
        "shelf".into()
    }

    fn is_mine(&self, _: &[u8]) -> bool {
        true
    }

    async fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        Ok(payload)
    }

    async fn decode(&self, payload: &[u8], _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        let number: u64 = serde_json::from_slice(payload).unwrap();
        {
            let mut opened = self.0.lock().unwrap();
            opened.now += 1;
            opened.most = opened.most.max(opened.now);
        }
        sleep(Duration::from_millis(MESSAGES - number)).await;
        self.0.lock().unwrap().now -= 1;
        match number {
            BROKEN => Err(StepError::malformed("it is broken")),
            _ => Ok(payload.to_vec()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn payloads_of_a_batch_are_opened_side_by_side_and_keep_their_order() {
    let (cluster, shelf) = (Cluster::new(1), Shelf::default());
    cluster.publish_all(0, 0..MESSAGES);
    let batches = Arc::new(Mutex::new(Vec::new()));
    let on_batch = {
        let batches = Arc::clone(&batches);
        move |batch: Vec<u64>| {
            batches.lock().unwrap().push((batch, Instant::now()));
            async {}
        }
    };
    let began = Instant::now();
    let step = shelf.clone();
    let app = cluster
        .app("[integration.messaging.payload]\npipeline = [{ step = 'serializer' }, { step = 'shelf' }]\n")
        .payload_step("shelf", move |_| Some(Step::waiting(step.clone())))
        .register(
            handler()
                .max_batch_linger_ms(10)
                .batch_handler(MESSAGES as usize, on_batch),
        );
    let _app = app
        .build()
        .expect("it is valid")
        .start()
        .await
        .expect("it starts");
    cluster.until_committed(0, MESSAGES as i64).await;
    let batches = batches.lock().unwrap();
    let (batch, at) = &batches[0];
    let others: Vec<u64> = (0..MESSAGES).filter(|number| *number != BROKEN).collect();
    assert_eq!(*batch, others);
    assert_eq!(shelf.0.lock().unwrap().most, AT_ONCE);
    // One after the other they would take 820 ms.
    assert!(*at - began < Duration::from_millis(200), "{:?}", *at - began);
}
