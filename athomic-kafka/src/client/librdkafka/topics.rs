//! Which topics stand behind the names of a subscription, looked at from time to time.
//!
//! librdkafka reads on in a topic that was deleted and made anew, at the offset where it was in the old
//! one. If the new one is long enough, what lies below is never seen, and nothing says so. So the
//! topics' ids are compared here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use athomic_core::message::{Partition, TopicPartition};

use super::Fault;
use super::native::{Client, Queue, TopicId, TopicSeen};

/// How often the topics are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Knows the topics of a subscription.
pub(super) struct Topics {
    group: Arc<Client>,
    queue: Arc<Queue>,
    names: Vec<String>,
    known: HashMap<String, Known>,
    next: Instant,
}

struct Known {
    id: TopicId,
    /// The ids that it had before: a broker that lags behind may still tell one.
    past: Vec<TopicId>,
    /// How many partitions there were when the topic was first seen.
    at_first: Partition,
}

impl Topics {
    pub(super) fn new(group: Arc<Client>, queue: Arc<Queue>, names: Vec<String>) -> Self {
        Self {
            group,
            queue,
            names,
            known: HashMap::new(),
            next: Instant::now(),
        }
    }

    /// Return when [`look`](Self::look) is to be called.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Ask for the topics' ids if it is time.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        // Answers come in the order of the questions, so that a slow one costs only time.
        self.next = now + EVERY;
        if let Err(fault) = self.group.describe_topics(&self.names, PATIENCE, &self.queue) {
            report(&fault);
        }
    }

    /// Look soon: something is wrong with a topic.
    pub(super) fn hurry(&mut self) {
        self.next = self.next.min(Instant::now() + Duration::from_millis(200));
    }

    /// Take note of what was seen, and return the topics that are no longer those of before.
    pub(super) fn compare(&mut self, seen: Vec<TopicSeen>) -> Vec<String> {
        let mut made_anew = Vec::new();
        for TopicSeen { name, id, partitions } in seen {
            match self.known.get_mut(&name) {
                Some(known) if known.id == id || known.past.contains(&id) => {}
                Some(known) => {
                    known.past.push(std::mem::replace(&mut known.id, id));
                    // Of a new topic every partition is new.
                    known.at_first = 0;
                    made_anew.push(name);
                }
                None => {
                    let (past, at_first) = (Vec::new(), partitions);
                    self.known.insert(name, Known { id, past, at_first });
                }
            }
        }
        made_anew
    }

    /// Say whether a partition came after the member had seen its topic: what stands in it was published
    /// under the member's eyes.
    pub(super) fn was_added(&self, partition: &TopicPartition) -> bool {
        let known = self.known.get(&*partition.topic);
        known.is_some_and(|known| partition.partition >= known.at_first)
    }
}

fn report(fault: &Fault) {
    tracing::debug!(%fault, "cannot ask for the topics' ids");
}
