//! The lane of an ordered handler: fetches, decodes, and hands over to the shards.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::lane::{LaneContext, LaneSource, Settlement};
use super::super::processor::{Failure, caught, decoded};
use super::OrderedOrchestrationStrategy;
use super::flow::{Flow, Place, Weight};
use super::item::{Item, Places};
use super::names::Identity;
use super::shard::{Event, Incoming};
use crate::commit::Slot;
use crate::handler::{MessageContext, OrderedHandler};
use crate::message::{RawMessage, RecordBatch, Timestamp};
use crate::outcome::{FailureContext, FailureStage};
use crate::retry::RetryDecision;
use crate::store::ordering::{Aggregate, Digest};
use crate::transport::TransportError;

/// After so long without a message a partition counts as read to its end.
const AT_THE_END: Duration = Duration::from_millis(500);

/// Run a lane until it stops, and until nothing of its partition runs any more.
pub(super) async fn run<H: OrderedHandler>(
    strategy: &OrderedOrchestrationStrategy<H>,
    context: &LaneContext,
    source: &mut LaneSource,
) -> Result<(), TransportError> {
    let flow = Arc::new(Flow::new(Arc::clone(&context.state), context.settings.window));
    strategy.settings.flows.add(&flow);
    let mut leaving = Leaving {
        flow: Arc::clone(&flow),
        shards: &strategy.shards,
        told: Vec::new(),
    };
    let ended = loop {
        let Some(limits) = flow.room(context).await else {
            break Ok(());
        };
        let next = source.next(context, limits);
        let next = async {
            tokio::pin!(next);
            match tokio::time::timeout(AT_THE_END, &mut next).await {
                Ok(fetched) => fetched,
                Err(_) => {
                    flow.read_to.store(i64::MAX, Relaxed);
                    next.await
                }
            }
        };
        match next.await {
            Ok(Some(batch)) => {
                let last = batch.timestamp(batch.len() - 1);
                flow.read_to
                    .store(last.map_or(i64::MAX, Timestamp::as_millis), Relaxed);
                let mut parts = strategy.parts(batch.len());
                let undecoded = strategy.sort(context, &flow, &batch, &mut parts).await;
                // Before anything of it can leave, be it because the lane stops.
                flow.add(parts.messages, parts.bytes);
                let Some(undecoded) = undecoded else {
                    break Ok(());
                };
                strategy.hand_over(parts);
                if give_up(context, undecoded).await == Settlement::Abandoned {
                    break Ok(());
                }
                tokio::task::yield_now().await;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    leaving.begin();
    for told in std::mem::take(&mut leaving.told) {
        let _shard_gone = told.await;
    }
    ended
}

/// Give up what cannot be decoded; the partition is not read on before that.
async fn give_up(context: &LaneContext, undecoded: Vec<(FailureContext, Slot)>) -> Settlement {
    for (failure, slot) in undecoded {
        if context.give_up(failure).await == Settlement::Abandoned {
            return Settlement::Abandoned;
        }
        context.state.settle(slot);
    }
    Settlement::Settled
}

impl<H: OrderedHandler> OrderedOrchestrationStrategy<H> {
    /// Begin with a fetched batch of so many messages, of which each shard will get its part.
    fn parts(&self, messages: usize) -> Parts<H::Payload> {
        let share = messages.div_ceil(self.shards.len()) * 5 / 4;
        let part = |_| Vec::with_capacity(share);
        Parts {
            of_shards: self.shards.iter().map(part).collect(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Decode fetched messages and put each into the part of its aggregate's shard. Returns those that cannot
    /// be decoded; nothing if the lane stops before all are.
    async fn sort(
        &self,
        context: &LaneContext,
        flow: &Arc<Flow>,
        batch: &Arc<dyn RecordBatch>,
        parts: &mut Parts<H::Payload>,
    ) -> Option<Vec<(FailureContext, Slot)>> {
        let mut undecoded = Vec::new();
        let mut slot = flow.state.track(batch.as_ref());
        for index in 0..batch.len() {
            let message = RawMessage::new(Arc::clone(batch), index);
            if context.is_for_others(&message) {
                flow.state.settle(slot);
            } else {
                match self.decode_until(context, &message).await? {
                    Ok(decoded) => self.place(decoded, message, flow, slot, parts),
                    Err(failure) => undecoded.push((failure, slot)),
                }
            }
            slot = slot.next();
        }
        Some(undecoded)
    }

    /// Give each shard its part.
    fn hand_over(&self, parts: Parts<H::Payload>) {
        for (shard, part) in self.shards.iter().zip(parts.of_shards) {
            if !part.is_empty() {
                let _orchestration_gone = shard.send(Event::Arrived(part));
            }
        }
    }

    /// Decode a message, again and again while that may pass and the policy allows it: without its fields nobody
    /// knows whose turn it is. `None` is to leave it as it is.
    async fn decode_until(
        &self,
        context: &LaneContext,
        message: &RawMessage,
    ) -> Option<Result<Decoded<H::Payload>, FailureContext>> {
        let mut attempt = 1;
        loop {
            let call = MessageContext::new(context.scope(), message, attempt);
            let failure = match decoded(&call).await.and_then(|payload| self.look_into(payload)) {
                Ok(decoded) => return Some(Ok(decoded)),
                Err(failure) => failure.of(message, attempt),
            };
            let failures = &context.settings.failures;
            let delay = match failures.decide(&failure) {
                RetryDecision::RetryAfter(delay) if failure.stage == FailureStage::Decode => delay,
                _ => return Some(Err(failure)),
            };
            failures.retry(context.scope(), &failure, delay);
            if context.pause(delay).await {
                return None;
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Read the fields that say which aggregate a message belongs to, and where in it.
    fn look_into(&self, payload: H::Payload) -> Result<Decoded<H::Payload>, Failure> {
        let handler = &self.processor.handler;
        caught(|| {
            let key = handler.aggregate_key(&payload);
            let (hash, identity) = (Aggregate::hash(&key), Identity::of(&key));
            drop(key);
            let sequence = handler.sequence_id(&payload);
            Ok(Decoded {
                payload,
                hash,
                identity,
                sequence,
            })
        })
    }

    /// Give a decoded message its place in its partition, and put it into the part of its aggregate's shard.
    fn place(
        &self,
        decoded: Decoded<H::Payload>,
        message: RawMessage,
        flow: &Arc<Flow>,
        slot: Slot,
        parts: &mut Parts<H::Payload>,
    ) {
        let size = u32::try_from(message.size()).unwrap_or(u32::MAX);
        parts.messages += 1;
        parts.bytes += size as usize;
        let place = Place {
            flow: Arc::clone(flow),
            slot,
            weight: Weight::Active(size),
        };
        let bucket = Aggregate::bucket_of(decoded.hash, self.settings.policies.buckets);
        parts.of_shards[usize::from(bucket) % self.shards.len()].push(Incoming {
            identity: decoded.identity,
            item: Item {
                sequence: decoded.sequence,
                digest: Digest::of(message.payload()),
                message,
                places: Places::one(place),
            },
            payload: decoded.payload,
        });
    }
}

/// A fetched batch on its way to the shards.
struct Parts<P> {
    of_shards: Vec<Vec<Incoming<P>>>,
    /// How many messages and bytes there are.
    messages: usize,
    bytes: usize,
}

/// A decoded message, and where it belongs.
struct Decoded<P> {
    payload: P,
    hash: u64,
    identity: Identity,
    sequence: u64,
}

/// Tells the shards that a partition goes, also when its lane is cancelled.
struct Leaving<'a, P> {
    flow: Arc<Flow>,
    shards: &'a [mpsc::UnboundedSender<Event<P>>],
    told: Vec<oneshot::Receiver<()>>,
}

impl<P> Leaving<'_, P> {
    fn begin(&mut self) {
        for shard in std::mem::take(&mut self.shards) {
            let (tell, told) = oneshot::channel();
            self.told.push(told);
            let _orchestration_gone = shard.send(Event::Leave(Arc::clone(&self.flow), tell));
        }
    }
}

impl<P> Drop for Leaving<'_, P> {
    fn drop(&mut self) {
        self.begin();
    }
}
