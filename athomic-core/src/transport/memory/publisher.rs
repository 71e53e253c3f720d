//! Publishing into the broker's logs.

use std::time::Duration;

use tokio::sync::watch;

use super::MemoryBroker;
use super::broker::{not_written, pause};
use super::faults::{Call, Effect, Fault, InjectedFault, Operation};
use crate::transport::{Delivery, DeliveryState, OutgoingMessage, Publisher, TransportError};

type Results = Vec<Result<Delivery, TransportError>>;

/// A publisher into the embedded broker.
#[derive(Debug)]
pub struct MemoryPublisher {
    broker: MemoryBroker,
    /// How many calls are under way that a fault holds back.
    under_way: watch::Sender<usize>,
}

impl MemoryPublisher {
    pub(super) fn new(broker: MemoryBroker) -> Self {
        Self {
            broker,
            under_way: watch::Sender::new(0),
        }
    }

    fn plan(&self, messages: &[OutgoingMessage]) -> Vec<Fault> {
        let decide = |message: &OutgoingMessage| {
            let call = Call::new(Operation::Publish).at(&message.topic, message.partition);
            self.broker.faults().decide(&call)
        };
        messages.iter().map(decide).collect()
    }

    /// Publish in a task of its own, which goes on when the caller does not.
    async fn publish_apart(&self, messages: Vec<OutgoingMessage>, faults: Vec<Fault>) -> Results {
        let (broker, under_way) = (self.broker.clone(), self.under_way.clone());
        under_way.send_modify(|calls| *calls += 1);
        let task = tokio::spawn(async move {
            let results = publish_slowly(&broker, messages, faults).await;
            under_way.send_modify(|calls| *calls -= 1);
            results
        });
        task.await.expect("publishing neither panics nor is aborted")
    }
}

impl Publisher for MemoryPublisher {
    async fn publish(&self, messages: Vec<OutgoingMessage>) -> Results {
        let faults = self.plan(&messages);
        let slow = |fault: &Fault| !(fault.delay + fault.reply_delay).is_zero();
        if faults.iter().any(slow) {
            return self.publish_apart(messages, faults).await;
        }
        let mut state = self.broker.lock();
        let planned = messages.into_iter().zip(faults);
        planned
            .map(|(message, fault)| publish_one(&self.broker, &mut state, message, fault))
            .collect()
    }

    async fn flush(&self, timeout: Duration) -> Result<(), TransportError> {
        let mut under_way = self.under_way.subscribe();
        let done = under_way.wait_for(|calls| *calls == 0);
        match tokio::time::timeout(timeout, done).await {
            Ok(_all_done) => Ok(()),
            Err(elapsed) => Err(TransportError::Other {
                action: "flush".to_owned(),
                retriable: true,
                source: Box::new(elapsed),
            }),
        }
    }
}

/// Publish one message after the other, as late as planned: so messages keep their order.
async fn publish_slowly(
    broker: &MemoryBroker,
    messages: Vec<OutgoingMessage>,
    faults: Vec<Fault>,
) -> Results {
    let mut results = Vec::with_capacity(messages.len());
    for (message, fault) in messages.into_iter().zip(faults) {
        pause(fault.delay).await;
        let result = publish_one(broker, &mut broker.lock(), message, fault);
        pause(fault.reply_delay).await;
        results.push(result);
    }
    results
}

fn publish_one(
    broker: &MemoryBroker,
    state: &mut super::broker::State,
    message: OutgoingMessage,
    fault: Fault,
) -> Result<Delivery, TransportError> {
    let topic = message.topic.clone();
    match fault.effect {
        Effect::Nothing => broker.write(state, message),
        Effect::Fail => Err(not_written(&topic, true, InjectedFault)),
        Effect::Refuse => Err(fault.error(&format!("write to topic `{topic}`"))),
        Effect::TooLarge => Err(TransportError::TooLarge {
            topic,
            source: InjectedFault.into(),
        }),
        Effect::FailAfterApplying => {
            broker.write(state, message)?;
            Err(TransportError::Delivery {
                topic,
                state: DeliveryState::Unknown,
                retriable: true,
                source: InjectedFault.into(),
            })
        }
        Effect::Duplicate => {
            let first = broker.write(state, message.clone())?;
            // In the same partition, as a producer's own repetition would be.
            let again = OutgoingMessage {
                partition: Some(first.partition.partition),
                ..message
            };
            broker.write(state, again)?;
            Ok(first)
        }
    }
}
