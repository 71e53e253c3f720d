//! `Guard`: lets a handler's message run, or says that it is a duplicate, or that it has to wait.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::counts::{IdempotencyCounts, count};
use super::keeper::{Ending, Keeper};
use super::{IdempotencyPolicy, key_of};
use crate::dead_letter::Chain;
use crate::health::Finding;
use crate::message::RawMessage;
use crate::mutant::{self, Mutant};
use crate::retry::Backoff;
use crate::store::StoreError;
use crate::store::idempotency::{Acquisition, DynIdempotencyStore, Each, IdempotencyKey, Lock};

/// Guards one handler's messages in this process.
pub(crate) struct Guard {
    keeper: Arc<Keeper>,
    task: OnceLock<AbortOnDropHandle<()>>,
    is_open: AtomicBool,
    /// How often in a row the store gave no answer.
    failures: AtomicU32,
    trouble: Mutex<Option<Trouble>>,
}

/// A store that gives no answer.
struct Trouble {
    began: Instant,
    /// When it gave none the last time.
    last: Instant,
    error: String,
}

/// Who waits for the store asks more often than this. Where nobody has, nobody knows how it does.
const ASKED: Duration = Duration::from_secs(30);

/// What is to be done with a message.
pub(crate) enum Entry {
    /// Run it, and say how it ended.
    Run(Held),
    /// It was handled: acknowledge it.
    Duplicate,
    /// Ask again after this time.
    Later(Duration),
}

/// What came of a message.
pub(crate) enum Once<T> {
    /// It ran.
    Ran(T),
    /// It had been handled.
    Duplicate,
    /// It has to wait this long.
    Later(Duration),
}

/// How long to wait before a store is asked again that gave no answer.
const ASK_AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
    factor: 2.0,
    jitter: true,
};

impl Guard {
    pub(crate) fn new(
        store: Arc<dyn DynIdempotencyStore>,
        policy: IdempotencyPolicy,
        handler_id: Arc<str>,
    ) -> Self {
        Self {
            keeper: Arc::new(Keeper::new(store, policy, handler_id)),
            task: OnceLock::new(),
            is_open: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            trouble: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> IdempotencyCounts {
        self.keeper.counters.read()
    }

    /// Return the key of a message; `resolved` is what the handler's resolver says, if it has one.
    pub(crate) fn key_of(&self, message: &RawMessage, resolved: Option<&str>) -> IdempotencyKey {
        if resolved.is_some_and(str::is_empty) {
            count(&self.keeper.counters.unnamed, 1);
            tracing::debug!(
                handler = %self.keeper.handler_id, topic = message.topic(), offset = message.offset(),
                "`idempotency_key_resolver` returned an empty key; the message's id or place is taken"
            );
        }
        key_of(message, resolved)
    }

    /// Run something once for a key.
    pub(crate) async fn once<T, E>(
        &self,
        key: IdempotencyKey,
        run: impl Future<Output = Result<T, E>>,
    ) -> Once<Result<T, E>> {
        match self.enter(vec![key]).await.pop().expect("one entry for one key") {
            Entry::Duplicate => Once::Duplicate,
            Entry::Later(delay) => Once::Later(delay),
            Entry::Run(held) => {
                if mutant::is(Mutant::ConfirmsBeforeTheEnd) {
                    let locks: Vec<_> = held.lock.iter().cloned().collect();
                    self.keeper.store.confirm(&locks, self.keeper.policy.ttl).await;
                }
                let result = run.await;
                self.leave(vec![(held, result.is_ok())]).await;
                Once::Ran(result)
            }
        }
    }

    /// Ask for messages in one call; one entry each, in their order.
    pub(crate) async fn enter(&self, keys: Vec<IdempotencyKey>) -> Vec<Entry> {
        self.task.get_or_init(|| {
            let keeper = Arc::clone(&self.keeper);
            AbortOnDropHandle::new(tokio::spawn(async move { keeper.run().await }))
        });
        let locks: Vec<_> = keys.into_iter().map(Lock::new).collect();
        let answers = self.acquire(&locks).await;
        let entries = locks.into_iter().zip(answers);
        entries.map(|(lock, answer)| self.entry(lock, answer)).collect()
    }

    /// Acquire locks. What was not answered is asked once more at once, with the same tokens.
    async fn acquire(&self, locks: &[Lock]) -> Each<Acquisition> {
        if let Err(error) = self.open().await {
            let text = self.note(&error);
            let failed = |_: &Lock| Err(unopened(self.keeper.store.name(), &text));
            return locks.iter().map(failed).collect();
        }
        let timeout = self.keeper.policy.lock_timeout;
        let mut answers = self.keeper.store.acquire(locks, timeout).await;
        let (mut places, mut again) = (Vec::new(), Vec::new());
        for (place, answer) in answers.iter().enumerate() {
            if answer.as_ref().is_err_and(StoreError::is_retriable) {
                places.push(place);
                again.push(locks[place].clone());
            }
        }
        if !again.is_empty() {
            count(&self.keeper.counters.store_failures, again.len());
            let repeated = self.keeper.store.acquire(&again, timeout).await;
            for (place, answer) in places.into_iter().zip(repeated) {
                answers[place] = answer;
            }
        }
        self.look_at(&answers);
        answers
    }

    /// Return the name of the store.
    pub(crate) fn store(&self) -> &str {
        self.keeper.store.name()
    }

    /// Open the store before the first message, so that one that is not fit is known at the start.
    ///
    /// # Errors
    /// It cannot be reached, or is not fit.
    pub(crate) async fn open_early(&self) -> Result<(), StoreError> {
        let opened = self.open().await;
        match &opened {
            Ok(()) => self.recover(),
            Err(error) => drop(self.note(error)),
        }
        opened
    }

    async fn open(&self) -> Result<(), StoreError> {
        if !self.is_open.load(Ordering::Relaxed) {
            self.keeper.store.open().await?;
            self.is_open.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Take note of whether the store answers.
    fn look_at<T>(&self, answers: &Each<T>) {
        let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
        match failed.clone().last() {
            None => self.recover(),
            Some(error) => {
                count(&self.keeper.counters.store_failures, failed.count());
                self.note(error);
            }
        }
    }

    fn recover(&self) {
        if self.failures.swap(0, Ordering::Relaxed) > 0 {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(handler = %self.keeper.handler_id, store = self.keeper.store.name(), "the idempotency store answers again");
        }
    }

    fn note(&self, error: &StoreError) -> String {
        let text = Chain(error).to_string();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *trouble = Some(Trouble {
            began: trouble.as_ref().map_or(now, |trouble| trouble.began),
            last: now,
            error: text.clone(),
        });
        if failures.is_power_of_two() {
            tracing::warn!(
                handler = %self.keeper.handler_id, failures, error = text,
                "the idempotency store gives no answer: messages wait, and are not acknowledged"
            );
        }
        text
    }

    fn entry(&self, lock: Lock, answer: Result<Acquisition, StoreError>) -> Entry {
        match answer {
            Ok(Acquisition::Acquired) => {
                self.keeper.hold(&lock);
                Entry::Run(Held {
                    lock: Some(lock),
                    keeper: Arc::clone(&self.keeper),
                    is_done: false,
                })
            }
            Ok(Acquisition::Duplicate) => {
                count(&self.keeper.counters.duplicates, 1);
                tracing::debug!(handler = %self.keeper.handler_id, key = %lock.key, "a duplicate is acknowledged and not handled");
                Entry::Duplicate
            }
            Ok(Acquisition::Busy(remaining)) => {
                count(&self.keeper.counters.busy, 1);
                Entry::Later(self.keeper.patience(remaining))
            }
            Err(_) => {
                // It may be held all the same: the next attempt has another token.
                self.keeper.leave(lock, Ending::Release);
                Entry::Later(ASK_AGAIN.delay(self.failures.load(Ordering::Relaxed)))
            }
        }
    }

    /// Say how messages ended: `true` for those that were handled. Returns when that is known to be
    /// remembered, or after the time that locks last.
    pub(crate) async fn leave(&self, ended: Vec<(Held, bool)>) {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (mut held, is_done) in ended {
            held.is_done = is_done;
            if is_done {
                done.push(held)
            } else {
                failed.push(held)
            }
        }
        tokio::join!(self.confirm(done), self.release(failed));
    }

    async fn confirm(&self, mut held: Vec<Held>) {
        let until = Instant::now() + self.keeper.policy.lock_timeout;
        let mut failures = 0;
        while !held.is_empty() {
            let locks = locks(&held);
            let answers = self.keeper.store.confirm(&locks, self.keeper.policy.ttl).await;
            self.look_at(&answers);
            let mut unanswered = Vec::new();
            for (mut held, answer) in held.into_iter().zip(answers) {
                match answer {
                    Ok(hold) => self.keeper.confirmed(&held.end(), hold),
                    Err(_) => unanswered.push(held),
                }
            }
            held = unanswered;
            if held.is_empty() {
                return;
            }
            failures += 1;
            let pause = ASK_AGAIN.delay(failures);
            if Instant::now() + pause >= until {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        for mut held in held {
            self.keeper.unconfirmed(&held.end());
        }
    }

    /// Give locks up. One about which there is no answer is left to the keeper.
    async fn release(&self, held: Vec<Held>) {
        if held.is_empty() {
            return;
        }
        let answers = self.keeper.store.release(&locks(&held)).await;
        self.look_at(&answers);
        for (mut held, answer) in held.into_iter().zip(answers) {
            if answer.is_ok() {
                count(&self.keeper.counters.released, 1);
                held.end();
            }
        }
    }

    /// Add what is to be said about the store while messages wait for it.
    pub(crate) fn find(&self, now: Instant, findings: &mut Vec<Finding>) {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |trouble: &&Trouble| now.saturating_duration_since(trouble.last) < ASKED;
        if let Some(trouble) = trouble.as_ref().filter(waiting) {
            findings.push(Finding::IdempotencyStoreDown {
                store: self.keeper.store.name().to_owned(),
                lasting: now.saturating_duration_since(trouble.began),
                error: trouble.error.clone(),
            });
        }
    }
}

fn unopened(store: &str, reason: &str) -> StoreError {
    StoreError::Unavailable {
        store: store.to_owned(),
        reason: reason.to_owned(),
    }
}

fn locks(held: &[Held]) -> Vec<Lock> {
    held.iter()
        .map(|held| held.lock.clone().expect("it has not ended"))
        .collect()
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("store", &self.keeper.store.name())
            .field("policy", &self.keeper.policy)
            .finish_non_exhaustive()
    }
}

/// A lock of a message that is being handled. Dropped before its end, as when a lane is cancelled, it is
/// ended by the keeper.
pub(crate) struct Held {
    /// Nothing once it has ended.
    lock: Option<Lock>,
    keeper: Arc<Keeper>,
    /// Whether the handler succeeded.
    is_done: bool,
}

impl Held {
    /// Take the lock out: there is nothing more to be done about it.
    fn end(&mut self) -> Lock {
        let lock = self.lock.take().expect("it ends once");
        self.keeper.let_go(&lock);
        lock
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            self.keeper.let_go(&lock);
            let ending = if self.is_done {
                Ending::Confirm
            } else {
                Ending::Release
            };
            self.keeper.leave(lock, ending);
        }
    }
}
