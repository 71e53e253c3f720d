//! Queues of plain events: a consumer contract apart from where events come from.
//!
//! An [`EventConsumer`] runs a handler for each event until it is shut down. [`LoopConsumer`] is the one that
//! goes over a [`MessageQueueBackend`], one event after the other. Backends are found by a URL
//! ([`load_backend`]) or given to it; implement the trait for others, and for tests.
//!
//! This is for small programs, and for bridges to other systems. Attributes give more: several at once, order,
//! retries, idempotency, all of it in settings.
//!
//! | URL | backend |
//! |---|---|
//! | `memory://TOPIC` | the embedded broker of this process, [`TopicQueue`] |
//! | `kafka://HOST:PORT[,HOST:PORT]/TOPIC` | Kafka, [`TopicQueue`]; needs the feature `kafka` |
//! | `redis://HOST:PORT[/DATABASE]/STREAM` | a stream in Redis; needs the feature `redis` |
//!
//! ```
//! use athomic_core::queue::{EventConsumer, LoopConsumer, TopicQueue};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = TopicQueue::in_memory("orders");
//! queue.publish(&json!({"order": 17})).await?;
//! let (seen, mut orders) = tokio::sync::mpsc::unbounded_channel();
//! let consumer = LoopConsumer::new(queue).group("billing");
//! let handler = move |event: serde_json::Value| {
//!     let seen = seen.clone();
//!     async move { seen.send(event) }
//! };
//! let (ran, ()) = tokio::join!(consumer.run(handler), async {
//!     assert_eq!(orders.recv().await, Some(json!({"order": 17})));
//!     consumer.shutdown().await;
//! });
//! ran?;
//! # Ok(())
//! # }
//! ```

mod error;
mod load;
mod loop_consumer;
mod topic;

pub use error::QueueError;
pub use load::{QueueScheme, load_backend};
pub use loop_consumer::{LoopConsumer, OnError};
pub use topic::TopicQueue;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::outcome::BoxError;

/// A future behind a pointer.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is called for each event.
///
/// Implemented for async functions and closures of a [`Value`] that return a `Result`.
pub trait EventHandler: Send + Sync + 'static {
    /// Handle an event.
    fn handle(&self, event: Value) -> Boxed<'_, Result<(), BoxError>>;
}

impl<F, Fut, E> EventHandler for F
where
    F: Fn(Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send,
{
    fn handle(&self, event: Value) -> Boxed<'_, Result<(), BoxError>> {
        let run = self(event);
        Box::pin(async move { run.await.map_err(Into::into) })
    }
}

/// Runs a handler for events.
///
/// # Contract
/// - [`run`](Self::run) returns when it is shut down, when there will be no more events, or at an error that
///   ends it. It runs once at a time; afterwards it may run again.
/// - Dropping the future of `run` cancels: the handler is dropped where it is, and its event comes again.
/// - [`shutdown`](Self::shutdown) lets the event that is being handled complete where possible, and returns when
///   `run` is over. It may be called again, and when nothing runs.
pub trait EventConsumer: Send + Sync {
    /// Run the handler for each event.
    ///
    /// # Errors
    /// It runs already, or cannot go on.
    fn run(&self, handler: impl EventHandler) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Stop gracefully.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// Where events come from.
pub trait MessageQueueBackend: Send + Sync + 'static {
    /// Return the queue's name, without secrets.
    fn name(&self) -> &str;

    /// Begin to consume in a group, whose members share the events; nothing is the group `default`.
    ///
    /// # Errors
    /// The queue cannot be read.
    fn consume<'a>(&'a self, group: Option<&'a str>) -> Boxed<'a, Result<Box<dyn EventStream>, QueueError>>;
}

impl<B: MessageQueueBackend + ?Sized> MessageQueueBackend for Arc<B> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn consume<'a>(&'a self, group: Option<&'a str>) -> Boxed<'a, Result<Box<dyn EventStream>, QueueError>> {
        (**self).consume(group)
    }
}

/// The events of one consumer.
///
/// # Contract
/// - [`next`](Self::next) is cancel safe. It is not called before the event before was settled.
/// - An event that is not [settled](Self::settle) comes again, here or to another member of the group: after
///   [`close`](Self::close), after the stream was dropped, or after the process has died.
pub trait EventStream: Send {
    /// Wait for the next event; nothing if there will be none.
    ///
    /// # Errors
    /// Reading failed; it may be tried again where the error is retriable.
    fn next(&mut self) -> Boxed<'_, Result<Option<Value>, QueueError>>;

    /// Acknowledge the event that was given last.
    ///
    /// # Errors
    /// Whether it is acknowledged is unknown. May be repeated.
    fn settle(&mut self) -> Boxed<'_, Result<(), QueueError>>;

    /// Give back what was not settled, and free what is held.
    fn close(self: Box<Self>) -> Boxed<'static, ()>;
}
