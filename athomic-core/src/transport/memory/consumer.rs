//! A member of a group, as the runtime holds it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::alarm::Alarm;
use super::broker::{Silenced, Stopped, pause, unreachable};
use super::faults::{Call, Operation, injected};
use super::group::Claim;
use super::member::PendingEvent;
use super::stream::MemoryStream;
use super::{MemberId, MemoryBroker};
use crate::message::{Offset, PartitionOffset, TopicPartition};
use crate::settings::OffsetReset;
use crate::transport::{Assignment, ClientCondition, Consumer, ConsumerEvent, Revocation, TransportError};

/// A consumer on the embedded broker. Dropped without [`close`](Consumer::close), it is gone as if
/// its process had been killed: its partitions move when its session times out.
#[derive(Debug)]
pub struct MemoryConsumer {
    pub(super) broker: MemoryBroker,
    pub(super) group: Arc<str>,
    pub(super) id: MemberId,
    pub(super) offset_reset: OffsetReset,
    /// What the handler asks for at most in one fetch.
    pub(super) max_fetch_bytes: usize,
    pub(super) closed: AtomicBool,
}

/// What a look for an event found.
enum Look {
    Event(Result<ConsumerEvent, TransportError>),
    /// Nothing, and there will be nothing before this moment unless somebody wakes us.
    Nothing(Option<Instant>),
}

impl MemoryConsumer {
    /// Return the number of this member, for [`BrokerControl`](super::BrokerControl).
    #[must_use]
    pub const fn member_id(&self) -> MemberId {
        self.id
    }

    fn call(&self, operation: Operation) -> Call<'_> {
        Call::new(operation).by(&self.group, self.id)
    }

    fn look(&self, cx: &Context<'_>) -> Look {
        let mut state = self.broker.lock();
        // Under the lock: who closes takes it next, and finds the waker that is left below.
        if self.closed.load(Ordering::Acquire) {
            return Look::Event(Err(TransportError::Closed));
        }
        let event = state.group(&self.group, |group, world| {
            group.take_event(self.id, cx.waker(), world)
        });
        let deadline = state.peek(&self.group).and_then(|group| group.deadline);
        drop(state);
        match event {
            Some(event) => Look::Event(Ok(self.hand_over(event))),
            None => Look::Nothing(deadline),
        }
    }

    /// Make of a pending event what the runtime sees. Not under the lock.
    fn hand_over(&self, event: PendingEvent) -> ConsumerEvent {
        match event {
            PendingEvent::Assigned(grants) => {
                let assign = |grant: super::member::Grant| Assignment {
                    partition: grant.partition.clone(),
                    epoch: grant.epoch,
                    stream: Box::new(MemoryStream::new(self, grant)),
                };
                ConsumerEvent::Assigned(grants.into_iter().map(assign).collect())
            }
            PendingEvent::Revoked { id, partitions } => {
                let (broker, group, member) = (self.broker.clone(), Arc::clone(&self.group), self.id);
                ConsumerEvent::Revoked(Revocation::notifying(partitions, move || {
                    broker
                        .lock()
                        .group(&group, |group, world| group.complete(member, id, world));
                }))
            }
            PendingEvent::Lost(partitions) => ConsumerEvent::Lost(partitions),
            PendingEvent::Trouble(error) => ConsumerEvent::Trouble(error),
        }
    }

    /// Say under which assignments this member holds partitions now.
    fn claims(&self, offsets: &[PartitionOffset]) -> Vec<Claim> {
        let state = self.broker.lock();
        let group = state.peek(&self.group);
        let claim =
            |offset: &PartitionOffset| group.and_then(|group| group.claim(self.id, &offset.partition));
        offsets.iter().map(claim).collect()
    }

    fn apply_commit(&self, offsets: &[PartitionOffset], claims: &[Claim]) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        if state.down {
            return Err(unreachable(Stopped));
        }
        state.group(&self.group, |group, _| {
            if group.members.get(&self.id).is_some_and(|member| member.silenced) {
                return Err(unreachable(Silenced));
            }
            group
                .commit(self.id, offsets, claims)
                .map_err(|partition| TransportError::Fenced {
                    source: format!("{} does not own {partition}", self.id).into(),
                })
        })
    }

    /// Leave as if the process had been killed.
    fn abandon(&self) {
        let mut state = self.broker.lock();
        state.group(&self.group, |group, world| group.abandon(self.id, world));
    }

    fn leave(&self) -> Result<(), TransportError> {
        let mut state = self.broker.lock();
        if state.down {
            return Err(unreachable(Stopped));
        }
        state.group(&self.group, |group, world| {
            if group.members.get(&self.id).is_some_and(|member| member.silenced) {
                return Err(unreachable(Silenced));
            }
            group.leave(self.id, world);
            Ok(())
        })
    }
}

impl Consumer for MemoryConsumer {
    async fn next_event(&self) -> Result<ConsumerEvent, TransportError> {
        let mut alarm = Alarm::default();
        poll_fn(|cx| {
            loop {
                match self.look(cx) {
                    Look::Event(event) => return Poll::Ready(event),
                    Look::Nothing(None) => return Poll::Pending,
                    Look::Nothing(Some(deadline)) => {
                        if alarm.poll_until(deadline, cx).is_pending() {
                            return Poll::Pending;
                        }
                    }
                }
            }
        })
        .await
    }

    async fn commit(&self, offsets: &[PartitionOffset]) -> Result<(), TransportError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(TransportError::Closed);
        }
        let mut call = self.call(Operation::Commit);
        call.offsets = offsets;
        let fault = self.broker.faults().decide(&call);
        let claims = self.claims(offsets);
        pause(fault.delay).await;
        if fault.fails_before() {
            return Err(fault.error("commit offsets"));
        }
        self.apply_commit(offsets, &claims)?;
        pause(fault.reply_delay).await;
        if fault.fails_after() {
            return Err(injected("commit offsets"));
        }
        Ok(())
    }

    fn condition(&self) -> ClientCondition {
        let state = self.broker.lock();
        let member = state
            .peek(&self.group)
            .and_then(|group| group.members.get(&self.id));
        let silenced = member.is_some_and(|member| member.silenced);
        ClientCondition {
            connected: !state.down && !silenced,
            ..ClientCondition::default()
        }
    }

    fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        let mut state = self.broker.lock();
        let (topics, _) = state.logs();
        let log = topics.get_mut(&partition.topic)?.log_mut(partition.partition)?;
        Some(log.range().end)
    }

    async fn close(&self) -> Result<(), TransportError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Whatever becomes of the call, this side ends now; the session time-out is the safety net.
        self.abandon();
        let fault = self.broker.faults().decide(&self.call(Operation::Leave));
        pause(fault.delay).await;
        if fault.fails_before() {
            return Err(fault.error("leave the group"));
        }
        self.leave()?;
        pause(fault.reply_delay).await;
        if fault.fails_after() {
            return Err(injected("leave the group"));
        }
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.abandon();
        }
    }
}
