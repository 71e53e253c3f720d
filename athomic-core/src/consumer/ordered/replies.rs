//! What a shard asks the store, and what it does with the answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::super::lane::Settlement;
use super::aggregate::{Entry, Held, Phase, Places};
use super::session::Stopped;
use super::shard::{ELEMENTS, FRAMES, Running, Shard};
use super::{Ended, Work, give_up, unordered};
use crate::dead_letter::Chain;
use crate::handler::OrderedHandler;
use crate::message::Timestamp;
use crate::mutant::{self, Mutant};
use crate::ordering::{
    CompleteMode, Durability, FirstSequence, GapAction, OnGap, OnLate, OnRegression, frame,
};
use crate::outcome::BoxError;
use crate::store::StoreError;
use crate::store::ordering::{
    Admission, Aggregate, Arrival, Claim, ClaimTerms, Completed, Completion, Digest, FencingToken, First,
    Frame, Grant, RoomLimits, Steering,
};

/// Which calls are under way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) admitting: bool,
    pub(super) completing: bool,
    pub(super) releasing: bool,
    pub(super) claiming: bool,
    pub(super) sweeping: bool,
    pub(super) probing: bool,
    pub(super) steering: usize,
}

/// An answer of the store, with what was asked.
#[derive(Debug)]
pub(super) enum Reply {
    Admitted(Vec<(usize, u64)>, Vec<Result<Admission, StoreError>>),
    Completed(Vec<usize>, Vec<Completion>, Vec<Result<Completed, StoreError>>),
    Released(Vec<usize>, Vec<Result<(), StoreError>>),
    Due(Vec<Result<Vec<Aggregate>, StoreError>>),
    Claimed(Vec<usize>, Vec<Result<Claim, StoreError>>, Claiming),
    Probed(Vec<Aggregate>, Vec<Result<Option<u64>, StoreError>>),
    Steered(usize, Then, Result<(), StoreError>),
    Room(usize, Gap, Result<Vec<Frame>, StoreError>),
    /// What waited behind a gap is given up: through which sequence, and how many.
    RoomGivenUp(usize, Gap, u64, usize),
    Resynced(usize, Result<Option<u64>, BoxError>),
}

/// Why aggregates are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claiming {
    /// They were due.
    InTurn,
    /// Nothing more of them fits: a gap is told at once.
    ForRoom,
}

/// What follows when the store has taken a change.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// The poison message is completed.
    Complete(Completion),
    /// The lease is given back.
    Release,
}

/// A gap that lasted too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    missing: u64,
    head: u64,
    token: FencingToken,
}

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Ask and tell what has gathered, unless it is being asked or told already.
    pub(super) fn flush(&mut self) {
        if self.session.is_none() {
            return;
        }
        if !self.pending.admitting && !self.asks.is_empty() {
            self.admit();
        }
        if !self.pending.completing && !self.completions.is_empty() {
            self.complete();
        }
        if !self.pending.releasing && !self.releases.is_empty() {
            self.release();
        }
        let wants_claims = !self.claims.is_empty() || !self.crowded.is_empty();
        if !self.pending.claiming && wants_claims {
            self.claim();
        }
    }

    fn admit(&mut self) {
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
                asked.push((index, entry.sequence));
                arrivals.push(Arrival {
                    aggregate: local.aggregate.clone(),
                    sequence: entry.sequence,
                    digest: entry.digest,
                    time: entry.message.timestamp().map_or(0, Timestamp::as_millis),
                    first: self.first(local.known, entry.sequence),
                    frame: entry
                        .parks
                        .then(|| frame::encode(&entry.message, entry.digest, now)),
                });
            }
            let lowest = front.sequence;
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

    /// Say what is next for an aggregate that the store does not know.
    fn first(&self, known: Option<First>, sequence: u64) -> First {
        if let Some(known) = known {
            return known;
        }
        let lost = self.settings.is_lost();
        match self.settings.policies.first_sequence {
            FirstSequence::Hook => First::Ask,
            _ if lost && self.settings.resync.is_some() => First::Ask,
            FirstSequence::Exact(first) if lost && sequence > first => First::Halt(STATE_LOST),
            FirstSequence::Exact(first) => First::Exact(first),
            FirstSequence::FirstSeen { settle } if settle.is_zero() => First::Seen,
            FirstSequence::FirstSeen { .. } => First::Settle,
        }
    }

    fn limits(&self) -> RoomLimits {
        let policies = &self.settings.policies;
        RoomLimits {
            messages: policies.room_max_messages,
            bytes: policies.room_max_bytes,
            bucket_messages: policies.bucket_max_messages,
            bucket_bytes: policies.bucket_max_bytes,
        }
    }

    fn complete(&mut self) {
        let mut told = std::mem::take(&mut self.completions);
        if told.len() > ELEMENTS {
            self.completions = told.split_off(ELEMENTS);
        }
        for (index, completion) in &mut told {
            completion.keep = self.keeps(*index, completion.sequence);
        }
        let Some(session) = self.session else { return };
        let (indices, completions): (Vec<usize>, Vec<Completion>) = told.into_iter().unzip();
        self.pending.completing = true;
        // Who stops takes nothing more out of the rooms.
        let frames = if self.context.state.is_stopping() {
            0
        } else {
            FRAMES
        };
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(completions, |store, some| {
                store.complete(session.id, frames, some)
            });
            let (completions, answers) = call.await;
            Reply::Completed(indices, completions, answers)
        }));
    }

    /// Say whether an aggregate's lease is wanted after a message is done.
    fn keeps(&mut self, index: usize, sequence: u64) -> bool {
        let sticky = self.stickiness.keeps();
        let local = &self.locals[index];
        if matches!(local.phase, Phase::Ready | Phase::Running) || local.has(sequence + 1) {
            return true;
        }
        let goes = self.context.state.is_stopping()
            || local
                .completing
                .iter()
                .any(|entry| entry.places.iter().any(super::flow::Place::is_stopping));
        let shared = local.shared && !mutant::is(Mutant::KeepsWhatIsWanted);
        local.queue.is_empty() && !shared && sticky && !goes
    }

    fn release(&mut self) {
        let Some(session) = self.session else { return };
        let releases = std::mem::take(&mut self.releases);
        let lease = |&(index, token): &(usize, _)| (self.locals[index].aggregate.clone(), token);
        let leases: Vec<_> = releases.iter().map(lease).collect();
        let indices = releases.into_iter().map(|(index, _)| index).collect();
        self.pending.releasing = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(leases, |store, some| store.release(session.id, some));
            let (_, answers) = call.await;
            Reply::Released(indices, answers)
        }));
    }

    fn claim(&mut self) {
        let Some(session) = self.session else { return };
        let (aggregates, why) = if self.crowded.is_empty() {
            (std::mem::take(&mut self.claims), Claiming::InTurn)
        } else {
            (std::mem::take(&mut self.crowded), Claiming::ForRoom)
        };
        if self.context.state.is_stopping() {
            return;
        }
        let claimed = aggregates
            .into_iter()
            .filter_map(|aggregate| self.begin_claim(aggregate));
        let claimed: Vec<usize> = claimed.collect();
        if claimed.is_empty() {
            return;
        }
        let aggregates = claimed.iter().map(|index| self.locals[*index].aggregate.clone());
        let aggregates: Vec<Aggregate> = aggregates.collect();
        let policies = &self.settings.policies;
        let gap = match policies.on_gap {
            OnGap::Wait => None,
            OnGap::After(..) if why == Claiming::ForRoom => Some(Duration::ZERO),
            OnGap::After(after, _) => Some(after),
        };
        let settle = match policies.first_sequence {
            FirstSequence::FirstSeen { settle } => settle,
            // Where nothing is known, somebody has resumed what was halted for that: with what waits.
            _ => Duration::ZERO,
        };
        let terms = ClaimTerms {
            frames: FRAMES,
            gap,
            settle,
        };
        self.pending.claiming = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(aggregates, |store, some| store.claim(session.id, terms, some));
            let (_, answers) = call.await;
            Reply::Claimed(claimed, answers, why)
        }));
    }

    /// Begin to claim an aggregate, unless something is under way for it: that brings what waits, too.
    fn begin_claim(&mut self, aggregate: Aggregate) -> Option<usize> {
        let index = self.local(aggregate);
        let local = &mut self.locals[index];
        let is_free = local.is_free();
        if is_free {
            local.phase = Phase::Claiming(match local.phase {
                Phase::Again(until) => Some(until),
                _ => None,
            });
        }
        is_free.then_some(index)
    }

    /// Look for aggregates that wait and that nobody looks after.
    pub(super) fn look_for_due(&mut self, buckets: Vec<u16>) {
        if buckets.is_empty() {
            return;
        }
        self.pending.sweeping = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(buckets, |store, some| store.due(some, FRAMES));
            let (_, answers) = call.await;
            Reply::Due(answers)
        }));
    }

    /// Ask whether others have done what is held here.
    pub(super) fn probe(&mut self) {
        self.holding.retain(|index| {
            self.locals
                .get(*index)
                .is_some_and(|local| !local.held.is_empty())
        });
        if self.holding.is_empty() || self.pending.probing || self.session.is_none() {
            return;
        }
        let aggregate = |index: &usize| self.locals[*index].aggregate.clone();
        let aggregates: Vec<Aggregate> = self.holding.iter().map(aggregate).collect();
        self.pending.probing = true;
        let caller = self.caller.clone();
        self.calls.push(Box::pin(async move {
            let call = caller.until_known(aggregates, |store, some| store.probe(some));
            let (aggregates, answers) = call.await;
            Reply::Probed(aggregates, answers)
        }));
    }

    /// Change an aggregate in the store; then go on.
    fn steer(&mut self, index: usize, action: Steering, then: Then) {
        self.pending.steering += 1;
        let local = &mut self.locals[index];
        local.calls += 1;
        let (caller, aggregate) = (self.caller.clone(), local.aggregate.clone());
        self.calls.push(Box::pin(async move {
            let event = format!("{aggregate}: {action}");
            tracing::warn!(%aggregate, "{action}");
            let steered = caller.one((aggregate, action), |store, (aggregate, action)| {
                store.steer(aggregate, action.clone())
            });
            let done = match steered.await {
                Ok(()) => caller.one(event, |store, event| store.record(event)).await,
                Err(error) => Err(error),
            };
            Reply::Steered(index, then, done)
        }));
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Admitted(asked, answers) => self.on_admitted(asked, answers),
            Reply::Completed(indices, completions, answers) => {
                self.pending.completing = false;
                let told = indices.into_iter().zip(completions);
                for ((index, completion), answer) in told.zip(answers) {
                    self.on_completed(index, &completion, answer);
                    if self.session.is_none() {
                        return;
                    }
                }
            }
            Reply::Released(indices, answers) => {
                self.pending.releasing = false;
                for (index, answer) in indices.into_iter().zip(answers) {
                    match answer {
                        Ok(()) => self.on_given_back(index),
                        Err(error) => self.on_error(error),
                    }
                    if self.session.is_none() {
                        return;
                    }
                }
            }
            Reply::Due(answers) => {
                self.pending.sweeping = false;
                for answer in answers {
                    match answer {
                        Ok(due) => self.claims.extend(due),
                        Err(error) => self.on_error(error),
                    }
                }
            }
            Reply::Claimed(claimed, answers, why) => {
                self.pending.claiming = false;
                for (index, answer) in claimed.into_iter().zip(answers) {
                    match answer {
                        Ok(claim) => self.on_claimed(index, claim, why),
                        Err(error) => self.on_error(error),
                    }
                    if self.session.is_none() {
                        return;
                    }
                }
            }
            Reply::Probed(aggregates, answers) => {
                self.pending.probing = false;
                for (aggregate, answer) in aggregates.into_iter().zip(answers) {
                    match (self.find(&aggregate), answer) {
                        (Some(index), Ok(Some(next))) => {
                            self.locals[index].advance(next);
                            self.consider(index);
                        }
                        (_, Err(error)) => self.on_error(error),
                        _ => {}
                    }
                }
            }
            Reply::Steered(index, then, done) => self.on_steered(index, then, done),
            Reply::Room(index, gap, frames) => self.on_room(index, gap, frames),
            Reply::RoomGivenUp(index, gap, last, count) => {
                self.locals[index].calls -= 1;
                self.skip(index, gap, last, count);
            }
            Reply::Resynced(index, known) => self.on_resynced(index, known),
        }
    }

    fn on_error(&mut self, error: StoreError) {
        match error {
            // The keeper notices too, and begins another session.
            StoreError::SessionLapsed => self.fence(),
            error => {
                let _membership_gone = self.stopped.send(Stopped::Refused(error));
            }
        }
    }

    fn on_admitted(&mut self, asked: Vec<(usize, u64)>, answers: Vec<Result<Admission, StoreError>>) {
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

    fn on_admission(&mut self, index: usize, sequence: u64, admission: Admission) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        match admission {
            Admission::Run(grant) => {
                local.lease = Some(grant);
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
            Admission::Unknown => self.ask_application(index),
        }
    }

    fn on_parked(&mut self, index: usize, sequence: u64) {
        let local = &mut self.locals[index];
        let Some(entry) = local.remove(sequence) else {
            return;
        };
        self.caller.counters.parked.add(1);
        tracing::debug!(aggregate = %local.aggregate, sequence, "message waits for those before it");
        let mut places = entry.places;
        match self.settings.policies.durability {
            Durability::Redis { .. } => places.settle(),
            Durability::Kafka if mutant::is(Mutant::SettlesWhatWaits) => places.settle(),
            Durability::Kafka => {
                places.hold();
                let digest = entry.digest;
                local.held.push(Held {
                    sequence,
                    digest,
                    places,
                });
                self.holding.insert(index);
            }
        }
    }

    fn on_duplicate(&mut self, index: usize, sequence: u64, newer: bool) {
        self.locals[index].advance(sequence + 1);
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
    fn settle_past(&mut self, index: usize, sequence: u64, dead: Option<&'static str>) {
        let Some(entry) = self.locals[index].remove(sequence) else {
            return;
        };
        match dead {
            Some(reason) => self.give_up(entry, reason.into()),
            None => entry.places.settle(),
        }
    }

    /// Give up a message that has no place in the order; it is settled when its dead letter is acknowledged.
    fn give_up(&self, entry: Entry<H::Payload>, error: BoxError) {
        let context = self.context.clone();
        let Entry { message, places, .. } = entry;
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
            self.locals[index].aggregate, entry.sequence
        );
        self.give_up(entry, text.into());
    }

    fn ask_application(&mut self, index: usize) {
        let Some(resync) = self.settings.resync.clone() else {
            return self.ask_again(index);
        };
        let local = &mut self.locals[index];
        local.phase = Phase::Completing;
        local.calls += 1;
        let aggregate = local.aggregate.clone();
        self.calls.push(Box::pin(async move {
            Reply::Resynced(index, resync.last_processed(aggregate.key()).await)
        }));
    }

    fn on_resynced(&mut self, index: usize, known: Result<Option<u64>, BoxError>) {
        let first = match self.settings.policies.first_sequence {
            FirstSequence::Exact(first) => first,
            _ => 1,
        };
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        local.calls = local.calls.saturating_sub(1);
        match known {
            Ok(last) => {
                local.known = Some(First::Known(last.map_or(first, |last| last.saturating_add(1))));
                local.phase = Phase::Idle;
                self.consider(index);
            }
            Err(error) => {
                tracing::warn!(aggregate = %local.aggregate, error = %Chain(error.as_ref()), "the application cannot say where the aggregate stands, asking again");
                self.ask_again(index);
            }
        }
    }

    /// Take note of how a message ended.
    pub(super) fn finish(&mut self, ended: Ended, running: Running<H::Payload>) {
        let Running {
            index,
            mut entry,
            token,
        } = running;
        let completion = Completion {
            aggregate: self.locals[index].aggregate.clone(),
            sequence: entry.sequence,
            token,
            digest: entry.digest,
            time: entry.message.timestamp().map_or(0, Timestamp::as_millis),
            keep: false,
            skip: None,
        };
        let local = &mut self.locals[index];
        local.phase = Phase::Completing;
        match ended {
            Ended::Done => {
                local.completing.push_back(entry);
                self.completions.push((index, completion));
                if self.settings.policies.complete == CompleteMode::Pipelined {
                    self.go_on_at_once(index);
                }
            }
            Ended::Condemn(reason) => {
                local.completing.push_back(entry);
                self.steer(index, Steering::Condemn { reason }, Then::Complete(completion));
            }
            Ended::Halt(reason) => {
                // It waits in the room until the aggregate is resumed. What came from there still does.
                entry.parks = true;
                local.requeue(entry);
                self.caller.counters.halted.add(1);
                self.steer(index, Steering::Halt { reason }, Then::Release);
            }
            Ended::Abandoned => {
                entry.places.drop_stopping();
                local.requeue(entry);
                local.goes = true;
                local.pause();
                self.consider(index);
            }
        }
    }

    /// Start the next message before the store knows of the one before.
    fn go_on_at_once(&mut self, index: usize) {
        let local = &mut self.locals[index];
        let next = local.completing.back().map(|entry| entry.sequence + 1);
        if local.lease.is_some() && local.queue.front().map(|entry| entry.sequence) == next {
            local.next = next;
            local.phase = Phase::Idle;
            self.consider(index);
        }
    }

    fn on_completed(&mut self, index: usize, completion: &Completion, answer: Result<Completed, StoreError>) {
        let (frames, held) = match answer {
            Ok(Completed::Done { frames, held }) => {
                self.caller.counters.completed.add(1);
                (frames, held)
            }
            Ok(Completed::Already { frames, held }) => (frames, held),
            Ok(Completed::Fenced) => return self.on_fenced(index, completion),
            Err(error) => return self.on_error(error),
        };
        self.stickiness.completed();
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        if let (Some(_), Some(missing)) = (completion.skip, local.next) {
            let skipped = (completion.sequence + 1).saturating_sub(missing);
            self.caller.counters.skipped.add(skipped);
        }
        if local
            .completing
            .front()
            .is_some_and(|entry| entry.sequence == completion.sequence)
        {
            let done = local.completing.pop_front().expect("it is there");
            done.places.settle();
        }
        local.advance(completion.sequence + 1);
        if !held {
            local.lease = None;
        } else if let Some(grant) = &mut local.lease {
            grant.deliveries = 1;
        }
        if local.phase == Phase::Completing {
            local.pause();
        }
        self.take_in(index, frames);
        self.consider(index);
    }

    fn on_fenced(&mut self, index: usize, completion: &Completion) {
        let Some(local) = self.locals.get_mut(index) else {
            return;
        };
        if completion.skip.is_some() {
            // Something has come that was to be skipped.
            local.goes = true;
            local.next = None;
            local.pause();
            return self.consider(index);
        }
        self.caller.counters.fenced.add(1);
        tracing::warn!(
            aggregate = %local.aggregate,
            sequence = completion.sequence,
            token = %completion.token,
            "the message was done too late: somebody else has its aggregate, and its result there does not count"
        );
        // What was next here is remembered: if the store has lost its state, nobody else may know it.
        local.lease = None;
        if local
            .completing
            .front()
            .is_some_and(|entry| entry.sequence == completion.sequence)
        {
            let entry = local.completing.pop_front().expect("it is there");
            local.requeue(entry);
        }
        if local.phase == Phase::Completing {
            local.pause();
        }
        self.consider(index);
    }

    /// Take messages in that come out of a room.
    fn take_in(&mut self, index: usize, frames: Vec<Frame>) {
        for Frame { sequence, bytes } in frames {
            match frame::decode(&bytes) {
                Ok(parked) => {
                    self.caller.counters.released.add(1);
                    let entry = Entry {
                        sequence,
                        digest: parked.digest,
                        message: parked.message,
                        payload: None,
                        places: Places::default(),
                        parks: false,
                    };
                    self.join(index, entry);
                }
                Err(error) => {
                    tracing::error!(aggregate = %self.locals[index].aggregate, sequence, %error, "a message that waited is damaged, and is read again from its partition");
                    self.steer(index, Steering::Remove { sequence }, Then::Nothing);
                    let _membership_gone = self.stopped.send(Stopped::StateLost);
                    return;
                }
            }
        }
    }

    fn on_claimed(&mut self, index: usize, claim: Claim, why: Claiming) {
        let local = &mut self.locals[index];
        let again = match local.phase {
            Phase::Claiming(again) => again.filter(|until| *until > Instant::now()),
            _ => None,
        };
        local.phase = Phase::Idle;
        let (grant, frames) = match claim {
            Claim::Granted(grant, frames) => (grant, frames),
            Claim::Mine(token, frames) => {
                let known = local.lease.filter(|grant| grant.token == token);
                let lost = Grant {
                    token,
                    deliveries: 1,
                    condemned: false,
                };
                (known.unwrap_or(lost), frames)
            }
            Claim::Gap {
                grant,
                missing,
                head,
                since,
            } => {
                local.lease = Some(grant);
                let token = grant.token;
                return self.on_gap(index, Gap { missing, head, token }, since, why);
            }
            Claim::Busy | Claim::Waiting | Claim::Halted | Claim::Empty => {
                match claim {
                    Claim::Busy | Claim::Waiting => local.lease = None,
                    // Nobody waits for it: a lease that is only kept goes back if others want it.
                    _ => local.goes = local.shared && !local.has_next(),
                }
                if let (Some(until), None) = (again, local.lease) {
                    local.phase = Phase::Again(until);
                }
                return self.consider(index);
            }
        };
        local.lease = Some(grant);
        if let Some(first) = frames.first() {
            local.next = local.next.max(Some(first.sequence));
        }
        self.take_in(index, frames);
        let local = &mut self.locals[index];
        local.goes = !local.has_next();
        self.consider(index);
    }

    fn on_gap(&mut self, index: usize, gap: Gap, since: i64, why: Claiming) {
        let OnGap::After(_, action) = self.settings.policies.on_gap else {
            return self.give_lease_back(index);
        };
        // What is missing may stand where nobody has read yet.
        if why == Claiming::InTurn && self.settings.flows.any_behind(since) {
            return self.give_lease_back(index);
        }
        self.caller.counters.gap_timeouts.add(1);
        let local = &mut self.locals[index];
        local.phase = Phase::Completing;
        local.next = Some(gap.missing);
        let Gap { missing, head, .. } = gap;
        tracing::warn!(aggregate = %local.aggregate, missing, up_to = head - 1, ?action, "sequences did not come in time");
        match action {
            GapAction::Skip => self.skip(index, gap, head - 1, 0),
            GapAction::DeadLetter => {
                local.calls += 1;
                let (caller, aggregate) = (self.caller.clone(), local.aggregate.clone());
                let limit = usize::try_from(self.settings.policies.room_max_messages).unwrap_or(usize::MAX);
                self.calls.push(Box::pin(async move {
                    let frames = caller
                        .one(aggregate, |store, aggregate| store.read(aggregate, head, limit))
                        .await;
                    Reply::Room(index, gap, frames)
                }));
            }
            GapAction::Halt => {
                self.caller.counters.halted.add(1);
                let reason = format!("sequences {missing} to {} did not come in time", head - 1);
                self.steer(index, Steering::Halt { reason }, Then::Release);
            }
        }
    }

    /// Complete an aggregate up to a sequence that was given up with those below it, of which so many wait.
    fn skip(&mut self, index: usize, gap: Gap, last: u64, waiting: usize) {
        let completion = Completion {
            aggregate: self.locals[index].aggregate.clone(),
            sequence: last,
            token: gap.token,
            digest: Digest::of(None),
            time: 0,
            keep: false,
            skip: Some(waiting as u64),
        };
        self.completions.push((index, completion));
    }

    fn on_room(&mut self, index: usize, gap: Gap, frames: Result<Vec<Frame>, StoreError>) {
        let frames = match frames {
            Ok(frames) => frames,
            Err(error) => return self.on_error(error),
        };
        let settings = Arc::clone(&self.context.settings);
        self.calls.push(Box::pin(async move {
            for frame in &frames {
                match frame::decode(&frame.bytes) {
                    Ok(parked) => {
                        let reason = format!("sequence {} before it did not come in time", gap.head - 1);
                        give_up(&settings, &parked.message, reason.into()).await;
                    }
                    Err(error) => {
                        tracing::error!(sequence = frame.sequence, %error, "a message that waited is damaged");
                    }
                }
            }
            let last = frames.last().map_or(gap.head - 1, |frame| frame.sequence);
            Reply::RoomGivenUp(index, gap, last, frames.len())
        }));
    }

    fn on_steered(&mut self, index: usize, then: Then, done: Result<(), StoreError>) {
        self.pending.steering -= 1;
        self.locals[index].calls -= 1;
        if let Err(error) = done {
            return self.on_error(error);
        }
        match then {
            Then::Nothing => self.rest(index),
            Then::Complete(completion) => self.completions.push((index, completion)),
            Then::Release => {
                self.give_lease_back(index);
                self.locals[index].phase = Phase::Idle;
                self.locals[index].next = None;
                self.consider(index);
            }
        }
    }
}

/// Why an aggregate is halted of which nobody knows where it stood.
const STATE_LOST: &str = "the ordering store lost its state, and nobody knows where this aggregate stood: resume it from a sequence";
