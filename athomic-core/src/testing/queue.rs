//! A queue for tests of handlers: it yields what it is given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::queue::{Boxed, EventStream, MessageQueueBackend, QueueError};

/// A queue that yields events, and then ends or waits. Clones are the same queue.
///
/// ```
/// use athomic_core::queue::{EventConsumer, LoopConsumer};
/// use athomic_core::testing::queue::FakeQueue;
/// use serde_json::{Value, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = FakeQueue::yielding([json!({"order": 1}), json!({"order": 2})]);
/// let consumer = LoopConsumer::new(queue.clone());
/// consumer.run(async |event: Value| { assert!(event["order"].is_u64()); Ok::<_, String>(()) }).await?;
/// assert_eq!(queue.settled().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct FakeQueue {
    state: Arc<Mutex<State>>,
    waits: bool,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Result<Value, QueueError>>,
    settled: Vec<Value>,
    failing: VecDeque<QueueError>,
    groups: Vec<Option<String>>,
    closed: usize,
}

impl FakeQueue {
    /// Yield events and end.
    pub fn yielding(events: impl IntoIterator<Item = Value>) -> Self {
        let queue = Self::default();
        queue.lock().events.extend(events.into_iter().map(Ok));
        queue
    }

    /// Yield events and wait for more, as a real queue does.
    #[must_use]
    pub fn and_waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Add an event.
    pub fn push(&self, event: Value) {
        self.lock().events.push_back(Ok(event));
    }

    /// Add an error in the place of an event.
    pub fn fail(&self, error: QueueError) {
        self.lock().events.push_back(Err(error));
    }

    /// Let the next acknowledgement fail.
    pub fn fail_settling(&self, error: QueueError) {
        self.lock().failing.push_back(error);
    }

    /// Return what was acknowledged.
    #[must_use]
    pub fn settled(&self) -> Vec<Value> {
        self.lock().settled.clone()
    }

    /// Return the groups in which it was consumed.
    #[must_use]
    pub fn groups(&self) -> Vec<Option<String>> {
        self.lock().groups.clone()
    }

    /// Return how many streams were closed.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageQueueBackend for FakeQueue {
    fn name(&self) -> &str {
        "fake"
    }

    fn consume<'a>(&'a self, group: Option<&'a str>) -> Boxed<'a, Result<Box<dyn EventStream>, QueueError>> {
        self.lock().groups.push(group.map(str::to_owned));
        let stream: Box<dyn EventStream> = Box::new(FakeStream {
            queue: self.clone(),
            current: None,
        });
        Box::pin(std::future::ready(Ok(stream)))
    }
}

struct FakeStream {
    queue: FakeQueue,
    current: Option<Value>,
}

impl EventStream for FakeStream {
    fn next(&mut self) -> Boxed<'_, Result<Option<Value>, QueueError>> {
        let next = self.queue.lock().events.pop_front();
        Box::pin(async move {
            match next {
                Some(Ok(event)) => {
                    self.current = Some(event.clone());
                    Ok(Some(event))
                }
                Some(Err(error)) => Err(error),
                None if self.queue.waits => std::future::pending().await,
                None => Ok(None),
            }
        })
    }

    fn settle(&mut self) -> Boxed<'_, Result<(), QueueError>> {
        let mut state = self.queue.lock();
        let result = match state.failing.pop_front() {
            Some(error) => Err(error),
            None => {
                state.settled.extend(self.current.take());
                Ok(())
            }
        };
        Box::pin(std::future::ready(result))
    }

    fn close(self: Box<Self>) -> Boxed<'static, ()> {
        self.queue.lock().closed += 1;
        Box::pin(std::future::ready(()))
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        // What was not acknowledged comes again.
        if let Some(event) = self.current.take() {
            self.queue.lock().events.push_front(Ok(event));
        }
    }
}
