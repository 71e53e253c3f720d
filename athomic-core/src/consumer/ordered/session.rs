//! The session: one life of the process in the store, and how it notices that the life is over.
//!
//! All leases live and end with the session. It is kept alive by beats; what the process may do, it may
//! do only until a moment that it computes from the time at which the last good beat was *sent*, by its
//! own clock: past it the store may have given its leases to others. The process then starts nothing,
//! cancels what runs, and begins a new session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::OrderedSettings;
use super::calls::Caller;
use super::shard::Event;
use crate::dead_letter::Chain;
use crate::store::StoreError;
use crate::store::ordering::{Beat, Each, Opened, Past, SessionId, SessionState};

/// How often a session beats at most.
const BEAT: Duration = Duration::from_secs(1);

/// A session that may be worked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Nothing is started, and nothing goes on, from this moment on.
    pub(super) until: Instant,
}

impl Session {
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// Why a process cannot go on with the store.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The store refuses.
    Refused(StoreError),
    /// The store has lost what it knew.
    StateLost,
    /// Others were given aggregates whose messages were done here and are not here any more: they are read
    /// again.
    Overtaken,
}

/// Keeps a session alive, and begins another when it ends.
pub(super) struct SessionKeeper<P> {
    pub(super) settings: Arc<OrderedSettings>,
    pub(super) caller: Caller,
    pub(super) buckets: Vec<u16>,
    pub(super) ttl: Duration,
    pub(super) sessions: watch::Sender<Option<Session>>,
    pub(super) shards: Vec<mpsc::UnboundedSender<Event<P>>>,
    /// Which buckets have messages that wait, for the sweepers.
    pub(super) waiting: Arc<Vec<AtomicBool>>,
    /// What the store said last of each bucket: generation and token.
    pub(super) seen: Vec<Option<(u64, u64)>>,
    /// Whether something may be held here that was taken in under an earlier session.
    pub(super) had_a_session: bool,
    pub(super) stopped: mpsc::UnboundedSender<Stopped>,
}

impl<P> SessionKeeper<P> {
    /// Beat until dropped, or until there is nothing to beat for.
    pub(super) async fn run(mut self) {
        let mut id = SessionId::random();
        let mut known = false;
        loop {
            let sent = Instant::now();
            let beats = self.beat(id).await;
            let mut verdict = self.judge(beats, known);
            if matches!(verdict, Verdict::Alive) && !known {
                verdict = self.open().await;
            }
            match verdict {
                // Too late, and calls of before may still be on their way: under the same session they
                // would end leases that are taken anew.
                Verdict::Alive if self.is_over() => (id, known) = self.begin_anew(),
                Verdict::Alive => {
                    known = true;
                    self.settings.outage.end();
                    let until = sent + self.ttl - self.margin();
                    self.publish(Some(Session { id, until }));
                }
                Verdict::Unheard => {
                    if self.is_over() {
                        (id, known) = self.begin_anew();
                    }
                }
                Verdict::Over => (id, known) = self.begin_anew(),
                Verdict::Stopped(why) => {
                    self.publish(None);
                    let _membership_gone = self.stopped.send(why);
                    // The shards are still asked what they remember; they end with the membership.
                    std::future::pending::<()>().await;
                }
            }
            let next = sent + BEAT.min(self.ttl / 3);
            let over = (*self.sessions.borrow()).map(|session| session.until);
            tokio::time::sleep_until(over.map_or(next, |over| next.min(over))).await;
        }
    }

    /// Tell the shards, in their order: those who wait for a `watch` are woken by chance.
    fn publish(&self, session: Option<Session>) {
        self.sessions.send_replace(session);
        for shard in &self.shards {
            let _shard_gone = shard.send(Event::Session);
        }
    }

    fn is_over(&self) -> bool {
        self.sessions.borrow().is_some_and(|session| session.is_over())
    }

    /// What is left of the time to live when nothing goes on any more: for clocks that differ in speed,
    /// and for what is on its way.
    fn margin(&self) -> Duration {
        (self.ttl / 5).min(Duration::from_secs(2))
    }

    async fn beat(&self, id: SessionId) -> Option<Each<Beat>> {
        self.caller.counters.round_trip(self.buckets.len());
        let beats = self.caller.store.beat(id, &self.buckets, self.ttl);
        tokio::time::timeout(self.patience(), beats).await.ok()
    }

    /// How long an answer is waited for: the next beat is better than a late one.
    fn patience(&self) -> Duration {
        (self.ttl / 3).max(Duration::from_millis(100))
    }

    /// Take note that the store was not heard.
    fn trouble(&self, error: String) {
        self.caller.counters.store_failures.add(1);
        tracing::warn!(store = self.caller.store.name(), %error, "the ordering store did not keep the session alive");
        self.settings.outage.note(error);
    }

    /// Open the store anew, now that a session is there: what is lost from here on shows by its beats.
    async fn open(&mut self) -> Verdict {
        let is_first = !std::mem::replace(&mut self.had_a_session, true);
        match tokio::time::timeout(self.patience(), self.settings.open(Past::Some)).await {
            Ok(Ok(Opened::There { noticed: true, .. })) if !is_first => Verdict::Stopped(Stopped::StateLost),
            Ok(Ok(_)) => Verdict::Alive,
            Ok(Err(error)) if error.is_retriable() => {
                self.trouble(Chain(&error).to_string());
                Verdict::Unheard
            }
            Ok(Err(error)) => Verdict::Stopped(Stopped::Refused(error)),
            Err(_) => {
                self.trouble("it did not answer in time".to_owned());
                Verdict::Unheard
            }
        }
    }

    fn begin_anew(&mut self) -> (SessionId, bool) {
        self.caller.counters.lapses.add(1);
        tracing::warn!(
            "the session in the ordering store is over, beginning another: what ran is cancelled and asked about again"
        );
        self.publish(None);
        (SessionId::random(), false)
    }

    fn judge(&mut self, beats: Option<Each<Beat>>, known: bool) -> Verdict {
        let Some(beats) = beats else {
            self.trouble("it did not answer in time".to_owned());
            return Verdict::Unheard;
        };
        let mut verdict = Verdict::Alive;
        for (place, beat) in beats.into_iter().enumerate() {
            let beat = match beat {
                Ok(beat) => beat,
                Err(error) if error.is_retriable() => {
                    if matches!(verdict, Verdict::Alive) {
                        self.trouble(Chain(&error).to_string());
                        verdict = Verdict::Unheard;
                    }
                    continue;
                }
                Err(error) => return Verdict::Stopped(Stopped::Refused(error)),
            };
            let seen = self.seen[place].replace((beat.generation, beat.token.get()));
            let fell_back = seen
                .is_some_and(|(generation, token)| generation != beat.generation || token > beat.token.get());
            if fell_back || (known && beat.state == SessionState::New) {
                return Verdict::Stopped(Stopped::StateLost);
            }
            if beat.state == SessionState::Lapsed {
                verdict = Verdict::Over;
            }
            self.waiting[usize::from(self.buckets[place])].store(beat.messages > 0, Ordering::Relaxed);
            for aggregate in beat.wanted {
                let shard = usize::from(aggregate.bucket()) % self.shards.len();
                let _shard_gone = self.shards[shard].send(Event::Wanted(aggregate));
            }
        }
        verdict
    }
}

/// What a round of beats says.
enum Verdict {
    Alive,
    Unheard,
    Over,
    Stopped(Stopped),
}
