//! `TopicQueue`: a topic as a queue, on Kafka or on the embedded broker.
//!
//! An application of one handler reads it, so that groups, rebalances and commits are those of all others: its
//! handler hands each event over, and completes when the event was settled.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Boxed, EventStream, MessageQueueBackend, QueueError};
use crate::app::{App, RunningApp};
use crate::handler::register::subscribe;
use crate::outcome::{BoxError, HandlerError};
use crate::publisher::PublishError;
use crate::settings::{AutoCreate, Backend, MessagingSettings, Settings};
use crate::transport::memory::MemoryBroker;

/// The group of those who name none.
const GROUP: &str = "default";
/// What is not settled when the consumer stops is left to the stop, which comes before this.
const AFTER_THE_STOP: Duration = Duration::from_secs(3600);

/// A topic as a queue. Events are JSON; what is none is given up as messages of handlers are.
pub struct TopicQueue {
    settings: Settings,
    broker: MemoryBroker,
    topic: String,
    /// For publishing; made when something is.
    publishing: OnceCell<App>,
}

impl TopicQueue {
    /// Make a topic's queue by settings; the broker counts where they name the embedded one.
    #[must_use]
    pub fn new(settings: Settings, broker: MemoryBroker, topic: impl Into<String>) -> Self {
        Self {
            settings,
            broker,
            topic: topic.into(),
            publishing: OnceCell::new(),
        }
    }

    /// Make a topic's queue on an embedded broker of its own.
    #[must_use]
    pub fn in_memory(topic: impl Into<String>) -> Self {
        Self::new(Settings::default(), MemoryBroker::new(), topic)
    }

    /// Publish an event.
    ///
    /// # Errors
    /// The settings cannot be used, or the broker did not take it.
    pub async fn publish(&self, event: &Value) -> Result<(), QueueError> {
        let publishing = self.publishing.get_or_try_init(async || self.publishing());
        let publishing = publishing.await?;
        let published = publishing.publisher().publish(self.topic.as_str(), event).await;
        published
            .map(drop)
            .map_err(|error: PublishError| self.failed(error))
    }

    /// Make what publishes. On the embedded broker topics are made as its consumers make them.
    fn publishing(&self) -> Result<App, QueueError> {
        let MessagingSettings { backend, topics, .. } = &self.settings.messaging;
        if *backend == Backend::Memory && topics.auto_create != AutoCreate::Never {
            let control = self.broker.control();
            control.create_topic(&self.topic, topics.default_partitions.get());
        }
        self.app(None)
    }

    fn failed(&self, error: impl Into<BoxError>) -> QueueError {
        QueueError::Failed {
            queue: self.topic.clone(),
            source: error.into(),
        }
    }

    /// Make an application that publishes, and consumes for a group if one is named.
    fn app(&self, consuming: Option<(&str, Giver)>) -> Result<App, QueueError> {
        let builder = App::builder()
            .without_discovery()
            .settings(self.settings.clone())
            .broker(self.broker.clone());
        let builder = match consuming {
            None => builder,
            Some((group, giver)) => builder.register(
                subscribe(self.topic.as_str())
                    .group_id(group)
                    .handler_id(format!("queue::{}", self.topic))
                    .handler(move |event: Value| giver.clone().give(event)),
            ),
        };
        builder.build().map_err(|error| self.failed(error))
    }
}

impl fmt::Debug for TopicQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicQueue")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl MessageQueueBackend for TopicQueue {
    fn name(&self) -> &str {
        &self.topic
    }

    fn consume<'a>(&'a self, group: Option<&'a str>) -> Boxed<'a, Result<Box<dyn EventStream>, QueueError>> {
        Box::pin(async move {
            let (events, given) = mpsc::channel(1);
            let closing = CancellationToken::new();
            let giver = Giver {
                events,
                closing: closing.clone(),
            };
            let app = self.app(Some((group.unwrap_or(GROUP), giver)))?;
            let app = app.start().await.map_err(|error| self.failed(error))?;
            let stream: Box<dyn EventStream> = Box::new(TopicStream {
                queue: self.topic.clone(),
                given,
                current: None,
                closing,
                app: Some(app),
            });
            Ok(stream)
        })
    }
}

/// An event, and whom to tell that it is settled.
type Given = (Value, oneshot::Sender<()>);

/// The handler's side.
#[derive(Clone)]
struct Giver {
    events: mpsc::Sender<Given>,
    closing: CancellationToken,
}

impl Giver {
    /// Hand an event over, and wait until it is settled.
    async fn give(self, event: Value) -> Result<(), HandlerError> {
        let (settle, settled) = oneshot::channel();
        let is_given = tokio::select! {
            biased;
            () = self.closing.cancelled() => false,
            given = self.events.send((event, settle)) => given.is_ok(),
        };
        if is_given && settled.await.is_ok() {
            return Ok(());
        }
        // Its lane stops in a moment and leaves it as it is: it comes again.
        Err(HandlerError::retry_after("the consumer stops", AFTER_THE_STOP))
    }
}

/// The consumer's side.
struct TopicStream {
    queue: String,
    given: mpsc::Receiver<Given>,
    current: Option<oneshot::Sender<()>>,
    closing: CancellationToken,
    /// Nothing once it is closed.
    app: Option<RunningApp>,
}

impl TopicStream {
    /// Let all that waits know that it is not settled, and return what is to be stopped.
    fn end(&mut self) -> Option<RunningApp> {
        self.closing.cancel();
        self.current = None;
        self.given.close();
        while self.given.try_recv().is_ok() {}
        self.app.take()
    }
}

impl EventStream for TopicStream {
    fn next(&mut self) -> Boxed<'_, Result<Option<Value>, QueueError>> {
        Box::pin(async move {
            let app = self.app.as_mut().expect("it is not closed");
            tokio::select! {
                biased;
                given = self.given.recv() => {
                    let event = given.map(|(event, settle)| {
                        self.current = Some(settle);
                        event
                    });
                    Ok(event)
                }
                failure = app.failed() => Err(QueueError::Failed {
                    queue: self.queue.clone(),
                    source: failure.into(),
                }),
            }
        })
    }

    fn settle(&mut self) -> Boxed<'_, Result<(), QueueError>> {
        if let Some(current) = self.current.take() {
            // If its handler is gone, so is the partition: it comes again to whoever has it now.
            let _taken_away = current.send(());
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(mut self: Box<Self>) -> Boxed<'static, ()> {
        let app = self.end();
        Box::pin(async move {
            if let Some(app) = app {
                app.stop().await;
            }
        })
    }
}

impl Drop for TopicStream {
    fn drop(&mut self) {
        if let (Some(app), Ok(runtime)) = (self.end(), Handle::try_current()) {
            runtime.spawn(app.stop());
        }
    }
}
