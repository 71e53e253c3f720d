//! What is done, on its way to the store, and what the store says to it.
//!
//! All that is done of an aggregate goes as one range. At most one call is under way; what is done meanwhile
//! makes the next one.

use std::future::Future;

use tokio::time::Instant;

use super::super::aggregate::{Local, Phase};
use super::super::flow::Place;
use super::super::session::Stopped;
use super::super::{Ended, Work};
use super::replies::Reply;
use super::{ELEMENTS, FRAMES, Shard, UNTOLD};
use crate::handler::OrderedHandler;
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::ordering::{Completed, Completion};

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    /// Say whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.done.is_empty() || !self.skips.is_empty()
    }

    /// Say whether to tell now what is done. Somebody may wait for it: the next message, unless it may start
    /// before; who wants the lease or the partition. And what is done and not told takes memory.
    pub(super) fn is_time_to_tell(&self) -> bool {
        let somebody_waits = !self.pipelined
            || self.hurry
            || !self.skips.is_empty()
            || !self.leaving.is_empty()
            || self.context.state.is_stopping()
            || self.untold >= self.much();
        self.has_news() && (somebody_waits || self.pace.due(self.soon) <= Instant::now())
    }

    /// Say whether too much is done and not told to do more: the store does not answer.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.untold >= 2 * self.much()
    }

    /// Return what this shard may have of [`UNTOLD`].
    fn much(&self) -> u64 {
        UNTOLD / self.settings.shards as u64
    }

    pub(super) fn stand_in_line(&mut self, index: usize) {
        let local = &mut self.locals[index];
        self.soon |= local.waits_for_answer() || !self.stickiness.keeps();
        if !std::mem::replace(&mut local.done.in_line, true) {
            self.done.push_back(index);
        }
    }

    pub(super) fn complete(&mut self) {
        let Some(session) = self.session else { return };
        let mut told = std::mem::take(&mut self.skips);
        while told.len() < ELEMENTS
            && let Some(index) = self.done.pop_front()
        {
            told.extend(self.tell(index));
        }
        self.hurry &= self.has_news();
        self.soon &= self.has_news();
        if told.is_empty() {
            return;
        }
        let (indices, completions): (Vec<usize>, Vec<Completion>) = told.into_iter().unzip();
        self.pending.completing = true;
        self.pace.begin();
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

    /// Tell what is done of an aggregate, unless it is told later: with what becomes of it.
    pub(super) fn tell(&mut self, index: usize) -> Option<(usize, Completion)> {
        // What was in line may have been taken back, and the aggregate forgotten, meanwhile.
        let local = self.locals.get_mut(index)?;
        local.done.in_line = false;
        if local.phase == Phase::Steering || !local.done.has_news() {
            return None;
        }
        let last = local.done.last()?;
        let keep = self.keeps(index, last);
        let local = &mut self.locals[index];
        let completion = local.done.tell(&local.aggregate, keep)?;
        Some((index, completion))
    }

    /// Say whether an aggregate's lease is wanted after a message is done.
    pub(super) fn keeps(&mut self, index: usize, sequence: u64) -> bool {
        let sticky = self.stickiness.keeps();
        let local = &self.locals[index];
        if matches!(local.phase, Phase::Ready | Phase::Running | Phase::Suspected) || local.has(sequence + 1)
        {
            return true;
        }
        let shared = local.shared && !mutant::is(Mutant::KeepsWhatIsWanted);
        local.queue.is_empty() && !shared && sticky && !self.goes(local)
    }

    /// Say whether what is done of an aggregate was the last of its partition here.
    pub(super) fn goes(&self, local: &Local<H::Payload>) -> bool {
        let has_left = || !self.leaving.is_empty() && local.done.places().any(Place::is_stopping);
        self.context.state.is_stopping() || has_left()
    }

    pub(super) fn on_all_completed(
        &mut self,
        indices: Vec<usize>,
        completions: Vec<Completion>,
        answers: Vec<Result<Completed, StoreError>>,
    ) {
        self.pending.completing = false;
        self.pace.end();
        let told = indices.into_iter().zip(completions);
        for ((index, completion), answer) in told.zip(answers) {
            self.on_completed(index, &completion, answer);
            if self.session.is_none() {
                return;
            }
        }
    }

    pub(super) fn on_completed(
        &mut self,
        index: usize,
        completion: &Completion,
        answer: Result<Completed, StoreError>,
    ) {
        let (frames, held) = match answer {
            Ok(Completed::Done { frames, held }) => (frames, held),
            Ok(Completed::Already { frames, held }) => (frames, held),
            Ok(Completed::Fenced) => return self.on_fenced(index, completion),
            Err(error) => return self.on_error(error),
        };
        let local = &mut self.locals[index];
        if let (Some(_), Some(missing)) = (completion.skip, local.next) {
            let skipped = (completion.last + 1).saturating_sub(missing);
            self.caller.counters.skipped.add(skipped);
        }
        let told = local.done.settle_told();
        self.untold -= told;
        self.caller.counters.completed.add(told);
        self.stickiness.completed(told);
        local.advance(completion.last + 1);
        local.has_empty_room = held && frames.is_empty();
        if !held {
            local.lease = None;
        } else if let Some(grant) = &mut local.lease {
            grant.deliveries = 1;
        }
        let has_news = local.done.has_news();
        if matches!(local.phase, Phase::Completing) || completion.skip.is_some() {
            local.pause();
        }
        if has_news && local.phase != Phase::Steering {
            self.stand_in_line(index);
        }
        self.take_in(index, frames);
        self.consider(index);
    }

    pub(super) fn on_fenced(&mut self, index: usize, completion: &Completion) {
        let local = &mut self.locals[index];
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
            first = completion.first,
            last = completion.last,
            token = %completion.token,
            "messages were done too late: somebody else has their aggregate, and their results there do not count"
        );
        // What was next here is remembered: if the store has lost its state, nobody else may know it.
        local.lease = None;
        // What was done since was done under the same lease.
        self.untold -= local.done.len();
        if local.requeue_done() {
            let _membership_gone = self.stopped.send(Stopped::Overtaken);
        }
        if local.phase == Phase::Completing {
            local.pause();
        }
        self.consider(index);
    }
}
