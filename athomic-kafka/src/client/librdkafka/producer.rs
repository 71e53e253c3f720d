//! Publishing: records of a call go to librdkafka one by one, and its reports complete the call as a
//! whole.
//!
//! # Invariants
//! - Every record that librdkafka took is reported on, once, by the polling thread; librdkafka gives up
//!   at the delivery time-out at the latest.
//! - A call that has begun goes on if its future is dropped: what does not fit into librdkafka's queue
//!   is fed to it by a task of its own.
//! - A broker that finds a batch of records too large refuses all of them. Each is sent again by a second
//!   producer, whose batches hold one record: only one that is refused there is too large itself.
//! - A producer that has an heir gives it what it cannot write any more: records that were certainly not
//!   written, in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Thread, park_timeout};
use std::time::{Duration, Instant};

use athomic_core::message::Headers;
use athomic_core::transport::{DeliveryState, OutgoingMessage};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, Statistics};
use rdkafka_sys::types::RDKafkaErrorCode as Code;
use tokio::sync::{Notify, oneshot, watch};

use super::files::{Change, Files};
use super::native::{may_be_written, set_credentials};
use super::{Fault, FaultKind};
use crate::client::call::{Call, Outcome};
use crate::error::Endpoint;
use crate::security::{Secrets, renew};

/// How long the polling thread waits for reports before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);
/// How long it sleeps if nothing is under way; what is published wakes it.
const IDLE: Duration = Duration::from_secs(10);
/// How long a full queue is waited for before it is tried again anyway.
const FULL: Duration = Duration::from_millis(50);
/// How long the end waits for records on their way.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// A producer and its polling thread, which ends when this is dropped.
pub(crate) struct Publishing {
    shared: Arc<Shared>,
}

struct Shared {
    producer: BaseProducer<Reports>,
    stopping: AtomicBool,
    /// Whether the certificates were replaced that the producer has read.
    outdated: watch::Sender<bool>,
    /// Told when the polling thread has taken back what waits to be sent.
    taking_back: Mutex<Option<oneshot::Sender<()>>>,
    /// Sleeps while nothing is under way.
    poller: OnceLock<Thread>,
}

impl Publishing {
    pub(crate) fn start(
        options: &BTreeMap<String, String>,
        secrets: &Secrets,
        endpoint: Endpoint,
    ) -> Result<Self, Fault> {
        let alone = Alone {
            options: options.clone(),
            secrets: secrets.clone(),
            publishing: OnceLock::new(),
        };
        Self::start_with(options, secrets, endpoint, Some(alone))
    }

    fn start_with(
        options: &BTreeMap<String, String>,
        secrets: &Secrets,
        endpoint: Endpoint,
        alone: Option<Alone>,
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
            heir: OnceLock::new(),
            alone,
        };
        let producer = config.create_with_context(reports)?;
        let shared = Arc::new(Shared {
            producer,
            stopping: AtomicBool::new(false),
            outdated: watch::Sender::new(false),
            taking_back: Mutex::new(None),
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
        *self.shared.outdated.borrow()
    }

    /// Go on with the old certificates until others come: there is no successor.
    pub(crate) fn stay(&self) {
        self.shared.outdated.send_replace(false);
    }

    /// Wait until the certificates were replaced.
    pub(crate) async fn until_outdated(&self) {
        let mut outdated = self.shared.outdated.subscribe();
        // The sender is in `shared`, which this function holds.
        let _changed = outdated.wait_for(|outdated| *outdated).await;
    }

    /// Let another producer write what this one has not sent, and whatever fails here later without
    /// having been written.
    pub(crate) async fn give_way_to(&self, heir: &Self) {
        let shared = &self.shared;
        shared
            .producer
            .context()
            .heir
            .get_or_init(|| Arc::clone(&heir.shared));
        let (taken_back, done) = oneshot::channel();
        *shared.lock_taking_back() = Some(taken_back);
        shared.wake_poller();
        // The thread runs at least until `self` is dropped.
        let _taken_back = done.await;
    }

    /// Wait until nothing is under way.
    pub(crate) async fn flush(&self) {
        let reports = self.shared.producer.context();
        reports.settled_all().await;
        // What was refused stands there before it is reported on here.
        if let Some(alone) = reports.alone.as_ref().and_then(Alone::if_started) {
            alone.shared.producer.context().settled_all().await;
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
            let heir = self.producer.context().heir.get();
            let writer = heir.map_or(self, |heir| &**heir);
            let accepted = writer.accept(call, index, &message);
            refused = if accepted {
                writer.feed(call, &mut rest)
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
        let Err((error, _ticket)) = self.send(record) else {
            return true;
        };
        if matches!(error, KafkaError::MessageProduction(Code::QueueFull)) {
            return false;
        }
        let fault = Fault::from(error);
        let failed =
            self.producer
                .context()
                .endpoint
                .publishing(&message.topic, DeliveryState::NotWritten, fault);
        call.settle(index, Err(failed));
        true
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8], Box<Ticket>>) -> Result<(), (KafkaError, Box<Ticket>)> {
        let reports = self.producer.context();
        let is_first = reports.under_way.fetch_add(1, Ordering::SeqCst) == 0;
        match self.producer.send(record) {
            Ok(()) => {
                if is_first {
                    self.wake_poller();
                }
                Ok(())
            }
            Err((error, record)) => {
                reports.settled();
                Err((error, record.delivery_opaque))
            }
        }
    }

    /// Take a record over that another producer has not written; the ticket comes back if there is no room.
    /// It keeps its partition, so that it stays behind those that were written before it.
    fn inherit(&self, message: &BorrowedMessage<'_>, ticket: Box<Ticket>) -> Result<(), Box<Ticket>> {
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(message.topic(), ticket);
        record.partition = (message.partition() >= 0).then_some(message.partition());
        record.key = message.key();
        record.payload = message.payload();
        record.headers = message.headers().map(BorrowedHeaders::detach);
        self.send(record).map_err(|(_error, ticket)| ticket)
    }

    fn poll_until_stopped(&self, mut files: Files) {
        while !self.stopping.load(Ordering::SeqCst) {
            self.rest(&files);
            self.take_back();
            self.producer.poll(POLL);
            if self.producer.context().refused.swap(false, Ordering::Relaxed) {
                files.hurry();
            }
            match files.look() {
                Change::Nothing => {}
                Change::Password(new) => {
                    new.tell(|user, password| set_credentials(&self.producer, user, password))
                }
                Change::Certificates => drop(self.outdated.send_replace(true)),
            }
        }
        if let Err(error) = self.producer.flush(LAST_FLUSH) {
            tracing::warn!(%error, "a publisher ended before everything was acknowledged");
        }
    }

    /// Let go of what was not sent yet, if that is asked for, so that the heir gets it.
    fn take_back(&self) {
        let Some(taken_back) = self.lock_taking_back().take() else {
            return;
        };
        self.producer.purge(PurgeConfig::default().queue());
        // All reports are there, and are served in the time of one poll.
        self.producer.poll(POLL);
        let _nobody_waits = taken_back.send(());
    }

    fn lock_taking_back(&self) -> MutexGuard<'_, Option<oneshot::Sender<()>>> {
        self.taking_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleep while nothing is under way, on the polling thread. Whoever changes that wakes it afterwards, and
    /// a wake-up that comes too early is not lost.
    fn rest(&self, files: &Files) {
        let nothing_to_do = || {
            let under_way = self.producer.context().under_way.load(Ordering::SeqCst);
            let asked = self.stopping.load(Ordering::SeqCst) || self.lock_taking_back().is_some();
            under_way == 0 && !asked
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
    /// Who writes what this producer cannot write any more.
    heir: OnceLock<Arc<Shared>>,
    /// Who writes records by themselves; `None` in the one who does.
    alone: Option<Alone>,
}

/// A producer whose batches hold one record each, started when the first batch is too large.
struct Alone {
    options: BTreeMap<String, String>,
    secrets: Secrets,
    publishing: OnceLock<Option<Publishing>>,
}

impl Alone {
    fn if_started(&self) -> Option<&Publishing> {
        self.publishing.get()?.as_ref()
    }

    fn publishing(&self, endpoint: &Endpoint) -> Option<&Publishing> {
        let start = || {
            let mut options = self.options.clone();
            renew(&mut options, &self.secrets);
            options.insert("batch.num.messages".to_owned(), "1".to_owned());
            let started = Publishing::start_with(&options, &self.secrets, endpoint.clone(), None);
            let warn = |fault: &Fault| tracing::warn!(%fault, "cannot publish records one by one");
            started.inspect_err(warn).ok()
        };
        self.publishing.get_or_init(start).as_ref()
    }
}

impl Reports {
    /// Wait until nothing is under way.
    async fn settled_all(&self) {
        loop {
            let progress = self.progress.notified();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            progress.await;
        }
    }

    /// Return who writes a record that this producer has not written, if anybody can.
    fn successor(&self, error: &KafkaError, message: &BorrowedMessage<'_>) -> Option<&Arc<Shared>> {
        if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) {
            let alone = self.alone.as_ref()?.publishing(&self.endpoint)?;
            return Some(&alone.shared);
        }
        let heir = self.heir.get()?;
        (!may_be_written(message) && may_be_tried_again(error)).then_some(heir)
    }

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

    fn delivery(&self, result: &DeliveryResult<'_>, mut ticket: Box<Ticket>) {
        if let Err((error, message)) = result
            && let Some(successor) = self.successor(error, message)
        {
            match successor.inherit(message, ticket) {
                Ok(()) => return self.settled(),
                Err(no_room) => ticket = no_room,
            }
        }
        let Ticket { call, index } = *ticket;
        match result {
            Ok(message) => call.deliver(index, message.topic(), message.partition(), message.offset()),
            Err((error, message)) => {
                let written = may_be_written(message);
                let state = if written {
                    DeliveryState::Unknown
                } else {
                    DeliveryState::NotWritten
                };
                let fault = Fault::from(error.clone());
                let failed = self.endpoint.publishing(message.topic(), state, fault);
                call.settle(index, Err(failed));
            }
        }
        self.settled();
    }
}

/// Say whether another producer may succeed with what was not written.
fn may_be_tried_again(error: &KafkaError) -> bool {
    let purged = error.rdkafka_error_code() == Some(Code::PurgeQueue);
    purged || Fault::from(error.clone()).is_retriable()
}

/// What librdkafka gives back with the report on a record.
struct Ticket {
    call: Arc<Call>,
    index: usize,
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A producer that reaches nobody.
    fn publishing() -> Publishing {
        let options = BTreeMap::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
        let endpoint = Endpoint {
            connection: "default".to_owned(),
            servers: "127.0.0.1:1".to_owned(),
        };
        Publishing::start(&options, &Secrets::new(), endpoint).expect("valid options")
    }

    async fn until_under_way(publishing: &Publishing, count: usize) {
        let under_way = &publishing.shared.producer.context().under_way;
        let begun = Instant::now();
        while under_way.load(Ordering::SeqCst) != count {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{under_way:?} are under way"
            );
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_was_not_sent_is_the_heirs() {
        let (old, heir) = (Arc::new(publishing()), publishing());
        let message = |partition| OutgoingMessage {
            topic: "orders".to_owned(),
            partition,
            ..Default::default()
        };
        let messages = vec![message(None), message(Some(0)), message(Some(0))];
        let giving_way = Arc::clone(&old);
        let call = tokio::spawn(async move { giving_way.publish(messages).await });
        until_under_way(&old, 3).await;
        old.give_way_to(&heir).await;
        until_under_way(&old, 0).await;
        until_under_way(&heir, 3).await;
        assert!(!call.is_finished(), "nothing has failed");
        call.abort();
    }

    #[tokio::test]
    async fn who_is_outdated_is_told_and_may_stay() {
        let publishing = publishing();
        assert!(!publishing.is_outdated());
        publishing.shared.outdated.send_replace(true);
        publishing.until_outdated().await;
        publishing.stay();
        assert!(!publishing.is_outdated());
    }
}
