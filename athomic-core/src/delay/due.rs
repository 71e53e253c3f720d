//! The republisher of a delay store: claims what is due, publishes it, and removes it.
//!
//! It claims in batches and holds their leases for as long as publishing takes. What it was not told of for
//! certain it publishes again, under the same message id; what its destination refuses it tries as often as the
//! dead-letter settings say. Who is killed in between leaves its batch to others when the leases are over.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::monitor::RepublisherMonitor;
use super::republisher::{PUBLISH_AGAIN, REPUBLISHER, RepublishError};
use super::{DELAY_STORE, DelayScheduler};
use crate::dead_letter::{Chain, DlqHandler, Routes};
use crate::handler::{HandlerScope, StateMap};
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::outcome::FailureContext;
use crate::payload::HandlerPayloads;
use crate::retry::{Backoff, RetryDecision};
use crate::settings::{DelayBackend, MessagingSettings, Settings};
use crate::store::StoreError;
use crate::store::delay::{ClaimLimits, DelayClaim, DueEntry, LockToken};
use crate::telemetry::Written;
use crate::transport::{Connection, OutgoingMessage};

/// How long a claim lasts unless it is held.
const LEASE: Duration = Duration::from_secs(15);

/// How much is claimed at once.
const BATCH: ClaimLimits = ClaimLimits {
    entries: 1_000,
    bytes: 1 << 20,
};

/// How many batches are under way: while one is published the next is claimed.
const WORKERS: usize = 2;

/// How long a store is left alone in which nothing is due: so late is a message at most whose delay is shorter.
const LOOK: Duration = Duration::from_millis(500);

/// How long a store is left alone that does not answer.
const ASK_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
    factor: 2.0,
    jitter: true,
};

/// Opens a delay store, and republishes what waits in it where the settings say so.
pub(crate) struct DelayStoreService {
    scheduler: DelayScheduler,
    republisher: Option<Arc<DueRepublisher>>,
}

impl DelayStoreService {
    pub(crate) fn new(scheduler: DelayScheduler, republisher: Option<Arc<DueRepublisher>>) -> Self {
        Self {
            scheduler,
            republisher,
        }
    }
}

impl Service for DelayStoreService {
    fn name(&self) -> &str {
        "delay store"
    }

    /// After the check of all topics, before consumers, which may publish with a delay.
    fn priority(&self) -> i32 {
        -90
    }

    /// A store that is not fit keeps the application from starting; one that does not answer is waited for by what
    /// needs it.
    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        match self.scheduler.store().open().await {
            Err(error) if error.is_retriable() => {
                tracing::warn!(error = %Chain(&error), "the store of delayed messages cannot be looked at yet");
            }
            opened => opened?,
        }
        let Some(republisher) = &self.republisher else {
            return Ok(());
        };
        for _ in 0..WORKERS {
            let (republisher, stopping) = (Arc::clone(republisher), handle.clone());
            handle.spawn(async move {
                republisher.run(&stopping).await;
                Ok(())
            });
        }
        Ok(())
    }
}

/// Publishes the messages of a delay store when they are due.
pub(crate) struct DueRepublisher {
    scheduler: DelayScheduler,
    scope: HandlerScope,
    failures: DlqHandler,
    monitor: Arc<RepublisherMonitor>,
}

/// A message whose time has come.
struct Ripe {
    due: DueEntry,
    /// What is published for it; none if it is at fault, which is found out again when it is given up.
    message: Option<OutgoingMessage>,
    /// How often its destination has refused it.
    refusals: u32,
}

/// What a round of publishing came to.
struct Round {
    /// Published, or given up.
    done: Vec<String>,
    again: Vec<Ripe>,
    /// When they are tried again.
    wait: Duration,
}

impl DueRepublisher {
    /// Publish over a connection.
    pub(crate) fn new(
        scheduler: DelayScheduler,
        connection: &Connection,
        settings: &MessagingSettings,
        monitor: Arc<RepublisherMonitor>,
    ) -> Self {
        let publisher = connection.publisher().clone();
        let group_id = settings.republisher.group_id.as_str();
        let topics = [DELAY_STORE.to_owned()];
        let scope = HandlerScope {
            handler_id: REPUBLISHER.into(),
            group_id: group_id.into(),
            states: Arc::new(StateMap::default()),
            headers: Arc::clone(publisher.headers()),
            payloads: HandlerPayloads::default(),
            telemetry: publisher
                .telemetry()
                .map(|telemetry| Arc::new(telemetry.handler(REPUBLISHER, group_id, &topics))),
            publisher,
        };
        Self {
            scheduler,
            scope,
            failures: DlqHandler::new(&settings.dlq, REPUBLISHER, None),
            monitor,
        }
    }

    /// Republish until the end.
    async fn run(&self, handle: &ServiceHandle) {
        let mut failures = 0;
        while !handle.is_stopping() {
            let token = LockToken::unique();
            let pause = match self.scheduler.store().claim(token, LEASE, BATCH).await {
                Ok(claim) => {
                    failures = 0;
                    self.monitor.store.end();
                    self.monitor.saw(claim.waiting, claim.overdue);
                    self.pass(handle, token, claim).await
                }
                Err(error) => {
                    failures += 1;
                    self.store_failed("claim", &error);
                    ASK_AGAIN.delay(failures)
                }
            };
            if stops_within(handle, pause).await {
                return;
            }
        }
    }

    fn store_failed(&self, action: &'static str, error: &StoreError) {
        let error = Chain(error).to_string();
        tracing::warn!(action, error, "the store of delayed messages fails, asking again");
        self.monitor.store.note(error);
    }

    /// Publish what was claimed; return for how long the store may be left alone.
    async fn pass(&self, handle: &ServiceHandle, token: LockToken, claim: DelayClaim) -> Duration {
        if claim.entries.is_empty() {
            return claim.next.unwrap_or(LOOK).min(LOOK);
        }
        let ripe = claim.entries.into_iter().map(|due| Ripe {
            message: self.scheduler.read(&due).ok(),
            due,
            refusals: 0,
        });
        let mut ripe: Vec<_> = ripe.collect();
        let mut failures = 0;
        while !ripe.is_empty() {
            let names = names(&ripe);
            failures += 1;
            let round = self.holding(token, &names, self.attempt(ripe, failures)).await;
            self.remove(token, &round.done).await;
            ripe = round.again;
            if ripe.is_empty() {
                break;
            }
            let names = self::names(&ripe);
            if self
                .holding(token, &names, stops_within(handle, round.wait))
                .await
            {
                // For others, at once.
                self.hold(token, &names, Duration::ZERO).await;
                break;
            }
            // What was another's meanwhile is published there.
            let held = self.hold(token, &names, LEASE).await;
            let mut held = held.into_iter();
            ripe.retain(|_| held.next().unwrap_or(false));
        }
        // More may have become due meanwhile.
        Duration::ZERO
    }

    /// Publish messages together, and give up those that are to be.
    async fn attempt(&self, ripe: Vec<Ripe>, failures: u32) -> Round {
        let mut round = Round {
            done: Vec::new(),
            again: Vec::new(),
            wait: Duration::ZERO,
        };
        let results = self.publish(&ripe).await;
        let mut trouble = None;
        for (mut ripe, result) in ripe.into_iter().zip(results) {
            let Err(error) = result else {
                self.note_published(&ripe);
                round.done.push(ripe.due.name);
                continue;
            };
            let Some((stage, wish)) = error.verdict() else {
                trouble = Some(error);
                round.again.push(ripe);
                continue;
            };
            ripe.refusals += 1;
            let failure = FailureContext {
                message: self.scheduler.show(&ripe.due),
                stage,
                error: error.into(),
                attempt: ripe.refusals,
                wish,
                span: None,
            };
            match self.failures.decide(&failure) {
                RetryDecision::GiveUp | RetryDecision::Ignore => {
                    self.failures.give_up(&self.scope, &failure).await;
                    self.monitor.gave_up();
                    round.done.push(ripe.due.name);
                }
                RetryDecision::RetryAfter(delay) => {
                    self.failures.retry(&self.scope, &failure, delay);
                    round.wait = round.wait.max(delay);
                    round.again.push(ripe);
                }
            }
        }
        self.note_trouble(trouble.as_ref(), &mut round, failures);
        round
    }

    fn note_trouble(&self, trouble: Option<&RepublishError>, round: &mut Round, failures: u32) {
        let Some(error) = trouble else {
            return self.monitor.broker.end();
        };
        round.wait = round.wait.max(PUBLISH_AGAIN.delay(failures));
        let error = Chain(error).to_string();
        tracing::warn!(
            messages = round.again.len(),
            failures,
            error,
            "cannot publish delayed messages, trying again"
        );
        self.monitor.broker.note(error);
    }

    /// Publish what can be published in one call; one result each, in their order.
    async fn publish(&self, ripe: &[Ripe]) -> Vec<Result<(), RepublishError>> {
        let records = ripe.iter().filter_map(|ripe| ripe.message.clone()).collect();
        let mut sent = self
            .scope
            .publisher
            .send(records, Written::Copy)
            .await
            .into_iter();
        let result = |ripe: &Ripe| {
            if ripe.message.is_none() {
                return self.scheduler.read(&ripe.due).map(drop);
            }
            let sent = sent.next().expect("each record has a result");
            Ok(sent.map(drop)?)
        };
        ripe.iter().map(result).collect()
    }

    fn note_published(&self, ripe: &Ripe) {
        self.monitor.republished();
        if let (Some(telemetry), Some(message)) = (&self.scope.telemetry, &ripe.message) {
            let late = self.scope.publisher.now().as_millis() - ripe.due.due.as_millis();
            let late = Duration::from_millis(u64::try_from(late).unwrap_or(0));
            telemetry.late(&message.topic, late);
        }
    }

    /// Hold the leases of entries while something lasts.
    async fn holding<T>(&self, token: LockToken, names: &[String], work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(LEASE / 3) => {}
            }
            let hold = self.hold(token, names, LEASE);
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = hold => {}
            }
        }
    }

    /// Have leases end later; what is not known to be lost counts as held.
    async fn hold(&self, token: LockToken, names: &[String], lease: Duration) -> Vec<bool> {
        let held = self.scheduler.store().hold(token, names, lease).await;
        let answer = |held: Result<bool, StoreError>| {
            held.unwrap_or_else(|error| {
                self.store_failed("hold", &error);
                true
            })
        };
        held.into_iter().map(answer).collect()
    }

    /// Remove what was published. If the store does not answer for as long as the leases last, others publish it
    /// once more.
    async fn remove(&self, token: LockToken, names: &[String]) {
        let deadline = Instant::now() + LEASE;
        let mut names = names.to_vec();
        for failures in 1.. {
            if names.is_empty() {
                return;
            }
            let removed = self.scheduler.store().remove(token, &names).await;
            let mut error = None;
            let mut removed = removed.into_iter();
            names.retain(|_| {
                let failed = removed.next().and_then(Result::err);
                let is_open = failed.is_some();
                error = failed.or(error.take());
                is_open
            });
            let Some(error) = error else { return };
            self.store_failed("remove", &error);
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(ASK_AGAIN.delay(failures)).await;
        }
    }
}

fn names(ripe: &[Ripe]) -> Vec<String> {
    ripe.iter().map(|ripe| ripe.due.name.clone()).collect()
}

/// Wait; `true` if the service is told to end meanwhile.
async fn stops_within(handle: &ServiceHandle, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = handle.stopping() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

/// List the topics of the dead letters of messages that waited in a store.
pub(crate) fn letters(settings: &Settings) -> BTreeSet<String> {
    let MessagingSettings {
        enabled,
        republisher,
        dlq,
        ..
    } = &settings.messaging;
    if !enabled || !republisher.enabled || republisher.strategy != DelayBackend::RedisSortedSet {
        return BTreeSet::new();
    }
    Routes::of(REPUBLISHER, dlq).all(dlq, &[DELAY_STORE.to_owned()], &republisher.group_id)
}
