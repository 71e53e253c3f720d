//! Sequences that did not come in time.

use std::future::Future;
use std::sync::Arc;

use super::super::aggregate::Phase;
use super::super::{Ended, Work, give_up};
use super::Shard;
use super::replies::{Claiming, Reply, Then};
use crate::handler::OrderedHandler;
use crate::ordering::{GapAction, OnGap, frame};
use crate::store::StoreError;
use crate::store::ordering::{Completion, Digest, FencingToken, Frame, Steering};

/// A gap that lasted too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) missing: u64,
    pub(super) head: u64,
    pub(super) token: FencingToken,
}

impl<H, F, Start> Shard<'_, H, F, Start>
where
    H: OrderedHandler,
    F: Future<Output = Ended>,
    Start: Fn(Work<H::Payload>) -> F,
{
    pub(super) fn on_gap(&mut self, index: usize, gap: Gap, since: i64, why: Claiming) {
        let OnGap::After(_, action) = self.settings.policies.on_gap else {
            return self.give_lease_back(index);
        };
        // What is missing may stand where nobody has read yet.
        if why == Claiming::InTurn && self.settings.flows.any_behind(since) {
            return self.give_lease_back(index);
        }
        self.caller.counters.gap_timeouts.add(1);
        let local = &mut self.locals[index];
        local.phase = Phase::Steering;
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
    pub(super) fn skip(&mut self, index: usize, gap: Gap, last: u64, waiting: usize) {
        let completion = Completion {
            aggregate: self.locals[index].aggregate.clone(),
            first: gap.missing,
            last,
            token: gap.token,
            digest: Digest::of(None),
            time: 0,
            keep: false,
            skip: Some(waiting as u64),
        };
        self.skips.push((index, completion));
    }

    pub(super) fn on_room(&mut self, index: usize, gap: Gap, frames: Result<Vec<Frame>, StoreError>) {
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
}
