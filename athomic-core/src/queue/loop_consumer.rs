//! `LoopConsumer`: one event after the other, until it is shut down.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{EventConsumer, EventHandler, EventStream, MessageQueueBackend, QueueError};
use crate::dead_letter::Chain;
use crate::outcome::{BoxError, panic_text};
use crate::retry::Backoff;

/// What follows when the handler fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is logged, the event is acknowledged, and the next one comes.
    #[default]
    Log,
    /// [`run`](EventConsumer::run) ends with the error, and the event is not acknowledged.
    Stop,
}

/// How long to wait before a queue is asked again that gives no answer.
const ASK_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
    factor: 2.0,
    jitter: true,
};

/// Runs a handler over a backend's events, one after the other: the reference's `AsyncLoopConsumer`.
#[derive(Debug)]
pub struct LoopConsumer<B> {
    backend: B,
    group: Option<String>,
    on_error: OnError,
    patience: Duration,
    running: Mutex<Option<Running>>,
}

/// What is known of a run.
#[derive(Debug, Clone, Default)]
struct Running {
    /// Told to begin with no other event.
    stop: CancellationToken,
    /// Told to leave the one that is being handled.
    cancel: CancellationToken,
    /// Cancelled when the run is over.
    ended: CancellationToken,
}

impl<B: MessageQueueBackend> LoopConsumer<B> {
    /// Consume from a backend: one of [`load_backend`](super::load_backend), or any other.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            group: None,
            on_error: OnError::default(),
            patience: Duration::from_secs(30),
            running: Mutex::default(),
        }
    }

    /// Consume in a group, whose members share the events. Without one it is the backend's own.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Say what follows when the handler fails. Default [`OnError::Log`].
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Say how long a shutdown waits for the event that is being handled, before it is left and comes again.
    /// Default 30 s.
    #[must_use]
    pub fn shutdown_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Return the backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Say whether it runs.
    pub fn is_running(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Result<Turn<'_, B>, QueueError> {
        let mut running = self.lock();
        if running.is_some() {
            return Err(QueueError::AlreadyRunning);
        }
        let turn = Turn {
            consumer: self,
            running: running.insert(Running::default()).clone(),
        };
        Ok(turn)
    }
}

impl<B: MessageQueueBackend> EventConsumer for LoopConsumer<B> {
    async fn run(&self, handler: impl EventHandler) -> Result<(), QueueError> {
        let turn = self.begin()?;
        let Some(mut stream) = turn.consume().await? else {
            return Ok(());
        };
        let result = turn.run(stream.as_mut(), &handler).await;
        stream.close().await;
        result
    }

    async fn shutdown(&self) {
        let Some(running) = self.lock().clone() else {
            return;
        };
        running.stop.cancel();
        if tokio::time::timeout(self.patience, running.ended.cancelled())
            .await
            .is_err()
        {
            tracing::warn!(
                queue = self.backend.name(),
                "a handler still ran when its time was over; its event comes again"
            );
            running.cancel.cancel();
            running.ended.cancelled().await;
        }
    }
}

/// One run. Whatever ends it, the consumer is as it was before.
struct Turn<'a, B> {
    consumer: &'a LoopConsumer<B>,
    running: Running,
}

impl<B> Drop for Turn<'_, B> {
    fn drop(&mut self) {
        let mut running = self
            .consumer
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *running = None;
        self.running.ended.cancel();
    }
}

/// What became of an event.
enum Handled {
    Done,
    Failed(BoxError),
    Left,
}

impl<B: MessageQueueBackend> Turn<'_, B> {
    /// Begin to consume; nothing if it is shut down before that is possible.
    async fn consume(&self) -> Result<Option<Box<dyn EventStream>>, QueueError> {
        let mut failures = 0;
        loop {
            let consumed = tokio::select! {
                biased;
                () = self.running.stop.cancelled() => return Ok(None),
                consumed = self.consumer.backend.consume(self.consumer.group.as_deref()) => consumed,
            };
            match consumed {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) if error.is_retriable() => {
                    if self.wait(&mut failures, &error).await {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn run(&self, stream: &mut dyn EventStream, handler: &impl EventHandler) -> Result<(), QueueError> {
        let mut failures = 0;
        loop {
            let next = tokio::select! {
                biased;
                () = self.running.stop.cancelled() => return Ok(()),
                next = stream.next() => next,
            };
            match next {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => {
                    failures = 0;
                    match self.handle(handler, event).await {
                        Handled::Left => return Ok(()),
                        Handled::Failed(error) => self.failed(error)?,
                        Handled::Done => {}
                    }
                    self.settle(stream).await?;
                }
                Err(error) if error.is_retriable() => {
                    if self.wait(&mut failures, &error).await {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn handle(&self, handler: &impl EventHandler, event: Value) -> Handled {
        let handled = AssertUnwindSafe(async { handler.handle(event).await }).catch_unwind();
        tokio::select! {
            biased;
            handled = handled => match handled {
                Ok(Ok(())) => Handled::Done,
                Ok(Err(error)) => Handled::Failed(error),
                Err(panic) => Handled::Failed(format!("panicked: {}", panic_text(&*panic)).into()),
            },
            () = self.running.cancel.cancelled() => Handled::Left,
        }
    }

    fn failed(&self, source: BoxError) -> Result<(), QueueError> {
        let queue = self.consumer.backend.name();
        if self.consumer.on_error == OnError::Stop {
            let queue = queue.to_owned();
            return Err(QueueError::Handler { queue, source });
        }
        tracing::error!(
            queue,
            error = %Chain(source.as_ref()),
            "a handler failed with an event, which is given up"
        );
        Ok(())
    }

    /// Acknowledge an event. What is unknown is asked again, until it is shut down: then the event may come
    /// again.
    async fn settle(&self, stream: &mut dyn EventStream) -> Result<(), QueueError> {
        let mut failures = 0;
        loop {
            match stream.settle().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retriable() => {
                    if self.wait(&mut failures, &error).await {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Wait after a failure of the queue; `true` if it is shut down meanwhile.
    async fn wait(&self, failures: &mut u32, error: &QueueError) -> bool {
        *failures = failures.saturating_add(1);
        tracing::warn!(failures, error = %Chain(error), "the queue gives no answer, trying again");
        let pause = tokio::time::sleep(ASK_AGAIN.delay(*failures));
        tokio::select! {
            biased;
            () = self.running.stop.cancelled() => true,
            () = pause => false,
        }
    }
}
