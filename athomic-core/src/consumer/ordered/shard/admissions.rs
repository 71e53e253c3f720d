//! Messages about which the store is asked, and those that are not to be run.

use std::future::Future;

use futures_util::FutureExt;

use super::super::super::lane::Settlement;
use super::super::aggregate::{Entry, Phase};
use super::super::item::{Held, Item};
use super::super::{Ended, Work, unordered};
use super::replies::{Reply, Then};
use super::{ELEMENTS, Shard};
use crate::handler::OrderedHandler;
use crate::message::Timestamp;
use crate::mutant::{self, Mutant};
use crate::ordering::{Durability, OnGap, OnLate, OnRegression, frame};
use crate::outcome::BoxError;
use crate::store::StoreError;
use crate::store::ordering::{Admission, Arrival, RoomLimits, Steering};

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    pub(super) fn admit(&mut self) {
        let (mut asked, mut arrivals) = (Vec::new(), Vec::new());
        let now = Timestamp::now();
        while asked.len() < ELEMENTS
            && let Some(index) = self.asks.pop_front()
        {
            let Some(local) = self
                .locals
                .get(index)
                .filter(|local| local.phase == Phase::Asking)
            else {
                continue;
            };
            let Some(front) = local.queue.front() else {
                self.locals[index].phase = Phase::Idle;
                self.consider(index);
                continue;
            };
            let count = if front.parks { ELEMENTS } else { 1 };
            for entry in local
                .queue
                .iter()
                .take(count)
                .take_while(|entry| entry.parks || count == 1)
            {
                let item = &entry.item;
                asked.push((index, item.sequence));
                arrivals.push(Arrival {
                    aggregate: local.aggregate.clone(),
                    sequence: item.sequence,
                    digest: item.digest,
                    time: item.message.timestamp().map_or(0, Timestamp::as_millis),
                    first: self.first(local.known, item.sequence),
                    frame: entry
                        .parks
                        .then(|| frame::encode(&item.message, item.digest, now)),
                });
            }
            let lowest = front.sequence();
            self.locals[index].asked = Some(lowest);
        }
        let Some(session) = self.session.filter(|_| !asked.is_empty()) else {
            return;
        };
        self.pending.admitting = true;
        let (caller, limits) = (self.caller.clone(), self.limits());
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(arrivals, |store, some| store.admit(session.id, limits, some));
            let (_, answers) = call.await;
            Reply::Admitted(asked, answers)
        }));
    }

    pub(super) fn limits(&self) -> RoomLimits {
        let policies = &self.settings.policies;
        RoomLimits {
            messages: policies.room_max_messages,
            bytes: policies.room_max_bytes,
            bucket_messages: policies.bucket_max_messages,
            bucket_bytes: policies.bucket_max_bytes,
        }
    }

    pub(super) fn on_admitted(
        &mut self,
        asked: Vec<(usize, u64)>,
        answers: Vec<Result<Admission, StoreError>>,
    ) {
        self.pending.admitting = false;
        for ((index, sequence), answer) in asked.iter().zip(answers) {
            match answer {
                Ok(admission) => self.on_admission(*index, *sequence, admission),
                Err(error) => self.on_error(error),
            }
            if self.session.is_none() {
                return; // fenced: everything is asked anew
            }
        }
        for (index, _) in asked {
            if let Some(local) = self.locals.get_mut(index)
                && local.phase == Phase::Asking
            {
                local.phase = Phase::Idle;
                // The message went with its partition before the answer came.
                local.goes = !local.has_next();
                self.consider(index);
            }
        }
    }

    pub(super) fn on_admission(&mut self, index: usize, sequence: u64, admission: Admission) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        match admission {
            Admission::Run(grant) => {
                self.caller.counters.takeover(local.lease, grant);
                local.take_lease(grant);
                local.next = Some(sequence);
            }
            Admission::Parked { .. } => self.on_parked(index, sequence),
            Admission::Need => self.be_patient(index),
            Admission::Full => {
                self.caller.counters.full.add(1);
                if !matches!(self.settings.policies.on_gap, OnGap::Wait) {
                    self.crowded.push(self.locals[index].aggregate.clone());
                }
                self.ask_again(index);
            }
            Admission::Duplicate { newer } => self.on_duplicate(index, sequence, newer),
            Admission::Late => {
                self.caller.counters.late.add(1);
                let dead = self.settings.policies.on_late == OnLate::DeadLetter;
                self.settle_past(
                    index,
                    sequence,
                    dead.then_some("its sequence was skipped before it came"),
                );
            }
            Admission::Conflict => {
                if let Some(entry) = local.remove(sequence) {
                    self.conflict(index, entry);
                }
            }
            Admission::Invalid => {
                self.caller.counters.invalid.add(1);
                self.settle_past(
                    index,
                    sequence,
                    Some("its sequence lies below the first one, or none can follow it"),
                );
            }
            Admission::Unknown => self.ask_application(index, false),
        }
    }

    pub(super) fn on_parked(&mut self, index: usize, sequence: u64) {
        let local = &mut self.locals[index];
        let Some(entry) = local.remove(sequence) else {
            return;
        };
        self.caller.counters.parked.add(1);
        tracing::debug!(aggregate = %local.aggregate, sequence, "message waits for those before it");
        let mut places = entry.item.places;
        match self.settings.policies.durability {
            Durability::Redis { .. } => places.settle(),
            Durability::Kafka if mutant::is(Mutant::SettlesWhatWaits) => places.settle(),
            Durability::Kafka => {
                places.hold();
                let digest = entry.item.digest;
                local.held.push(Held {
                    sequence,
                    digest,
                    places,
                });
                self.holding.insert(index);
            }
        }
    }

    pub(super) fn on_duplicate(&mut self, index: usize, sequence: u64, newer: bool) {
        self.locals[index].advance_past(sequence);
        self.caller.counters.duplicates.add(1);
        if !newer {
            tracing::debug!(aggregate = %self.locals[index].aggregate, sequence, "message was done before");
            return self.settle_past(index, sequence, None);
        }
        self.caller.counters.regressions.add(1);
        let policy = self.settings.policies.on_regression;
        let reason = "its aggregate's sequences begin anew";
        self.settle_past(index, sequence, (policy != OnRegression::Drop).then_some(reason));
        if policy == OnRegression::Halt {
            let halt = Steering::Halt {
                reason: format!("sequence {sequence} came anew"),
            };
            self.caller.counters.halted.add(1);
            self.steer(index, halt, Then::Nothing);
        }
    }

    /// Settle a message that is not to be run, after it was given up for a reason.
    pub(super) fn settle_past(&mut self, index: usize, sequence: u64, dead: Option<&'static str>) {
        let Some(entry) = self.locals[index].remove(sequence) else {
            return;
        };
        match dead {
            Some(reason) => self.give_up(entry, reason.into()),
            None => entry.item.places.settle(),
        }
    }

    /// Give up a message that has no place in the order; it is settled when its dead letter is acknowledged.
    fn give_up(&self, entry: Entry<H::Payload>, error: BoxError) {
        let context = self.context.clone();
        let Item { message, places, .. } = entry.item;
        let mut settled = Box::pin(async move {
            if context.give_up(unordered(&message, error)).await == Settlement::Settled {
                places.settle();
            }
        });
        // Beside the calls: they are dropped with the session, and nobody else knows of the message.
        if (&mut settled).now_or_never().is_none() {
            tokio::spawn(settled);
        }
    }

    /// Give a message up whose sequence has another payload.
    pub(super) fn conflict(&mut self, index: usize, entry: Entry<H::Payload>) {
        self.caller.counters.conflicts.add(1);
        let text = format!(
            "another message of aggregate `{}` has its sequence {}",
            self.locals[index].aggregate,
            entry.sequence()
        );
        self.give_up(entry, text.into());
    }
}
