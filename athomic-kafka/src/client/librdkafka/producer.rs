//! Publishing: records of a call go to librdkafka one by one, and its reports complete the call as a
//! whole.
//!
//! # Invariants
//! - Every record that librdkafka took is reported on, once, by the polling thread; librdkafka gives up
//!   at the delivery time-out at the latest.
//! - A call that has begun goes on if its future is dropped: what does not fit into librdkafka's queue
//!   is fed to it by a task of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Thread, park_timeout};
use std::time::{Duration, Instant};

use athomic_core::message::{Headers, TopicPartition};
use athomic_core::transport::{Delivery, DeliveryState, OutgoingMessage, TransportError};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Statistics};
use rdkafka_sys::types::RDKafkaErrorCode as Code;
use tokio::sync::{Notify, oneshot};

use super::files::{Change, Files};
use super::native::{may_be_written, set_credentials};
use super::{Fault, FaultKind};
use crate::error::Endpoint;
use crate::security::Secrets;

/// How long the polling thread waits for reports before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);
/// How long it sleeps if nothing is under way; what is published wakes it.
const IDLE: Duration = Duration::from_secs(10);
/// How long a full queue is waited for before it is tried again anyway.
const FULL: Duration = Duration::from_millis(50);
/// How long the end waits for records on their way.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// The result of one record.
pub(crate) type Outcome = Result<Delivery, TransportError>;

/// A producer and its polling thread, which ends when this is dropped.
pub(crate) struct Publishing {
    shared: Arc<Shared>,
}

struct Shared {
    producer: BaseProducer<Reports>,
    stopping: AtomicBool,
    /// Whether the certificates were replaced that the producer has read.
    outdated: AtomicBool,
    /// Sleeps while nothing is under way.
    poller: OnceLock<Thread>,
}

impl Publishing {
    pub(crate) fn start(
        options: &BTreeMap<String, String>,
        secrets: &Secrets,
        endpoint: Endpoint,
    ) -> Result<Self, Fault> {
        let files = Files::of(&endpoint.connection, options, secrets);
        let mut config: ClientConfig = options
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        config.set_log_level(RDKafkaLogLevel::Info);
        let reports = Reports {
            endpoint,
            under_way: AtomicUsize::new(0),
            progress: Notify::new(),
            refused: AtomicBool::new(false),
        };
        let producer = config.create_with_context(reports)?;
        let shared = Arc::new(Shared {
            producer,
            stopping: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            poller: OnceLock::new(),
        });
        let polled = Arc::clone(&shared);
        let poller = std::thread::Builder::new()
            .name("athomic-publish".to_owned())
            .spawn(move || polled.poll_until_stopped(files))
            .map_err(|error| Fault::new(Code::Fail, error.to_string()))?;
        shared.poller.get_or_init(|| poller.thread().clone());
        Ok(Self { shared })
    }

    /// Publish; returns when all records are acknowledged or have failed.
    pub(crate) async fn publish(&self, messages: Vec<OutgoingMessage>) -> Vec<Outcome> {
        let (call, done) = Call::new(&messages);
        let mut rest = messages.into_iter().enumerate();
        if let Some(refused) = self.shared.feed(&call, &mut rest) {
            let shared = Arc::clone(&self.shared);
            let call = Arc::clone(&call);
            drop(tokio::spawn(async move {
                shared.feed_all(&call, refused, rest).await
            }));
        }
        // The sender is in the call, which this function holds: it cannot be gone.
        let _completed = done.await;
        call.outcomes()
    }

    /// Say whether the certificates were replaced, so that another producer has to take over.
    pub(crate) fn is_outdated(&self) -> bool {
        self.shared.outdated.load(Ordering::Relaxed)
    }

    /// Wait until nothing is under way.
    pub(crate) async fn flush(&self) {
        let reports = self.shared.producer.context();
        loop {
            let progress = reports.progress.notified();
            if reports.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            progress.await;
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.wake_poller();
    }
}

type Rest = std::iter::Enumerate<std::vec::IntoIter<OutgoingMessage>>;

impl Shared {
    /// Hand records to librdkafka until there is no room; return the one that did not fit.
    fn feed(&self, call: &Arc<Call>, rest: &mut Rest) -> Option<(usize, OutgoingMessage)> {
        rest.find(|(index, message)| !self.accept(call, *index, message))
    }

    async fn feed_all(&self, call: &Arc<Call>, refused: (usize, OutgoingMessage), mut rest: Rest) {
        let mut refused = Some(refused);
        while let Some((index, message)) = refused {
            let progress = self.producer.context().progress.notified();
            let _room_or_not = tokio::time::timeout(FULL, progress).await;
            let accepted = self.accept(call, index, &message);
            refused = if accepted {
                self.feed(call, &mut rest)
            } else {
                Some((index, message))
            };
        }
    }

    /// Hand a record to librdkafka; `false` if there is no room for it.
    fn accept(&self, call: &Arc<Call>, index: usize, message: &OutgoingMessage) -> bool {
        let ticket = Box::new(Ticket {
            call: Arc::clone(call),
            index,
        });
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&message.topic, ticket);
        record.partition = message.partition;
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        record.headers = headers_of(&message.headers);
        let reports = self.producer.context();
        let is_first = reports.under_way.fetch_add(1, Ordering::SeqCst) == 0;
        let Err((error, _returned)) = self.producer.send(record) else {
            if is_first {
                self.wake_poller();
            }
            return true;
        };
        reports.settled();
        if matches!(error, KafkaError::MessageProduction(Code::QueueFull)) {
            return false;
        }
        let fault = Fault::from(error);
        let failed = reports
            .endpoint
            .publishing(&message.topic, DeliveryState::NotWritten, fault);
        call.settle(index, Err(failed));
        true
    }

    fn poll_until_stopped(&self, mut files: Files) {
        while !self.stopping.load(Ordering::SeqCst) {
            self.rest(&files);
            self.producer.poll(POLL);
            if self.producer.context().refused.swap(false, Ordering::Relaxed) {
                files.hurry();
            }
            match files.look() {
                Change::Nothing => {}
                Change::Password(new) => {
                    new.tell(|user, password| set_credentials(&self.producer, user, password))
                }
                Change::Certificates => self.outdated.store(true, Ordering::Relaxed),
            }
        }
        if let Err(error) = self.producer.flush(LAST_FLUSH) {
            tracing::warn!(%error, "a publisher ended before everything was acknowledged");
        }
    }

    /// Sleep while nothing is under way, on the polling thread. Whoever changes that wakes it afterwards, and
    /// a wake-up that comes too early is not lost.
    fn rest(&self, files: &Files) {
        let nothing_to_do = || {
            let under_way = self.producer.context().under_way.load(Ordering::SeqCst);
            under_way == 0 && !self.stopping.load(Ordering::SeqCst)
        };
        if nothing_to_do() {
            let until_due = files
                .due()
                .map(|due| due.saturating_duration_since(Instant::now()));
            park_timeout(until_due.unwrap_or(IDLE).min(IDLE));
        }
    }

    fn wake_poller(&self) {
        if let Some(poller) = self.poller.get() {
            poller.unpark();
        }
    }
}

/// Completes calls as librdkafka reports on records.
struct Reports {
    endpoint: Endpoint,
    /// Records that librdkafka has and has not reported on.
    under_way: AtomicUsize,
    /// Notified when records are reported on: there is room, and perhaps nothing under way.
    progress: Notify,
    /// Set when a broker refuses who we are.
    refused: AtomicBool,
}

impl Reports {
    fn settled(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.progress.notify_waiters();
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        super::fault::log_line(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let kind = error
            .rdkafka_error_code()
            .map(|code| Fault::new(code, reason).kind);
        if kind == Some(FaultKind::Authentication) {
            self.refused.store(true, Ordering::Relaxed);
        }
        tracing::warn!(%error, reason, "trouble with Kafka while publishing");
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(message) => Ok(Delivery {
                partition: TopicPartition::new(message.topic(), message.partition()),
                offset: message.offset(),
            }),
            Err((error, message)) => {
                let written = may_be_written(message);
                let state = if written {
                    DeliveryState::Unknown
                } else {
                    DeliveryState::NotWritten
                };
                Err(self
                    .endpoint
                    .publishing(message.topic(), state, Fault::from(error.clone())))
            }
        };
        ticket.call.settle(ticket.index, outcome);
        self.settled();
    }
}

/// What librdkafka gives back with the report on a record.
struct Ticket {
    call: Arc<Call>,
    index: usize,
}

/// One call of `publish`: its outcomes so far, and who waits for the last.
struct Call {
    progress: Mutex<Progress>,
}

struct Progress {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Call {
    fn new(messages: &[OutgoingMessage]) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, completed) = oneshot::channel();
        let outcomes = messages.iter().map(|_| None).collect();
        // With no messages nothing settles, so the sender is not kept and the wait ends at once.
        let done = (!messages.is_empty()).then_some(done);
        let progress = Mutex::new(Progress {
            outcomes,
            left: messages.len(),
            done,
        });
        (Arc::new(Self { progress }), completed)
    }

    fn settle(&self, index: usize, outcome: Outcome) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.outcomes[index] = Some(outcome);
        progress.left -= 1;
        if progress.left == 0
            && let Some(done) = progress.done.take()
        {
            let _caller_gone = done.send(());
        }
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = std::mem::take(&mut progress.outcomes);
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Err(TransportError::Closed)))
            .collect()
    }
}

fn headers_of(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    let insert = |list: OwnedHeaders, header: &athomic_core::message::Header| {
        list.insert(Header {
            key: &header.name,
            value: header.value.as_deref(),
        })
    };
    Some(headers.iter().fold(empty, insert))
}
