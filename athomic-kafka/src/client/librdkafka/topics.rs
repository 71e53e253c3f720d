//! Which topics stand behind the names of a subscription, looked at from time to time.
//!
//! librdkafka reads on in a topic that was deleted and made anew, at the offset where it was in the old
//! one. If the new one is long enough, what lies below is never seen, and nothing says so. So the
//! topics' ids are compared here. Who asks for them is the affair of `watch.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use athomic_core::message::{Partition, TopicPartition};

use super::native::{Client, Queue, TopicId, TopicSeen};
use super::watch::{MemberId, Watch};

/// How long the group's commits for a topic that was made anew are not asked for: a member that has not
/// noticed yet commits offsets of the old one.
const SETTLING: Duration = Duration::from_secs(60);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a look waits at a sign that something is wrong with a topic: there may be many signs.
const SOON: Duration = Duration::from_millis(200);

/// Knows the topics of a subscription.
pub(super) struct Topics {
    group: Arc<Client>,
    queue: Arc<Queue>,
    names: Vec<String>,
    seen: Seen,
    watch: Arc<Watch>,
    member: MemberId,
    /// When to look at these topics without waiting for a turn.
    soon: Option<Instant>,
}

/// What was seen of the topics so far.
#[derive(Default)]
struct Seen(HashMap<String, Known>);

struct Known {
    id: TopicId,
    /// The ids that it had before: a broker that lags behind may still tell one.
    past: Vec<TopicId>,
    /// How many partitions there were when the topic was first seen.
    at_first: Partition,
    /// When it was seen that the topic was made anew.
    made_anew: Option<Instant>,
}

impl Topics {
    /// Begin with a look at once.
    pub(super) fn new(group: Arc<Client>, queue: Arc<Queue>, names: Vec<String>, watch: Arc<Watch>) -> Self {
        let woken = Arc::clone(&queue);
        let member = watch.join(&names, move || woken.wake());
        Self {
            group,
            queue,
            names,
            seen: Seen::default(),
            watch,
            member,
            soon: Some(Instant::now()),
        }
    }

    /// Return when [`look`](Self::look) is to be called.
    pub(super) fn due(&self) -> Instant {
        let turn = self.watch.due(self.member);
        self.soon.map_or(turn, |soon| soon.min(turn))
    }

    /// Ask for the topics' ids if it is time.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        // Answers come in the order of the questions, so that a slow one costs only time.
        if self.soon.is_some_and(|soon| soon <= now) {
            self.soon = None;
            self.ask(&self.names);
        }
        if let Some(topics) = self.watch.turn(self.member, now) {
            self.ask(&topics);
        }
    }

    fn ask(&self, topics: &[String]) {
        if let Err(fault) = self.group.describe_topics(topics, PATIENCE, &self.queue) {
            tracing::debug!(%fault, "cannot ask for the topics' ids");
        }
    }

    /// Look soon: something is wrong with a topic.
    pub(super) fn hurry(&mut self) {
        let soon = Instant::now() + SOON;
        self.soon = Some(self.soon.map_or(soon, |sooner| sooner.min(soon)));
    }

    /// Pass on what was seen of topics, to this member and to others.
    pub(super) fn tell(&self, seen: &[TopicSeen]) {
        self.watch.tell(seen);
    }

    /// Take note of what this member or another has seen, and return the topics that are no longer those
    /// of before.
    pub(super) fn compare(&mut self) -> Vec<String> {
        self.seen.compare(self.watch.news(self.member))
    }

    /// Say whether a partition came after the member had seen its topic: what stands in it was published
    /// under the member's eyes.
    pub(super) fn was_added(&self, partition: &TopicPartition) -> bool {
        self.seen.was_added(partition)
    }

    /// Say whether a topic was made anew so recently that the group's commits may be of the old one.
    pub(super) fn is_settling(&self, topic: &str) -> bool {
        self.seen.is_made_anew(topic, SETTLING)
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.watch.leave(self.member);
    }
}

impl Seen {
    fn compare(&mut self, seen: Vec<TopicSeen>) -> Vec<String> {
        let mut made_anew = Vec::new();
        for TopicSeen { name, id, partitions } in seen {
            match self.0.get_mut(&name) {
                Some(known) if known.id == id || known.past.contains(&id) => {}
                Some(known) => {
                    known.past.push(std::mem::replace(&mut known.id, id));
                    // Of a new topic every partition is new.
                    known.at_first = 0;
                    known.made_anew = Some(Instant::now());
                    made_anew.push(name);
                }
                None => {
                    let known = Known {
                        id,
                        past: Vec::new(),
                        at_first: partitions,
                        made_anew: None,
                    };
                    self.0.insert(name, known);
                }
            }
        }
        made_anew
    }

    fn was_added(&self, partition: &TopicPartition) -> bool {
        let known = self.0.get(&*partition.topic);
        known.is_some_and(|known| partition.partition >= known.at_first)
    }

    fn is_made_anew(&self, topic: &str, within: Duration) -> bool {
        let made_anew = self.0.get(topic).and_then(|known| known.made_anew);
        made_anew.is_some_and(|seen| seen.elapsed() < within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(seen: &mut Seen, id: i64, partitions: Partition) -> Vec<String> {
        seen.compare(vec![TopicSeen {
            name: "orders".to_owned(),
            id: TopicId(0, id),
            partitions,
        }])
    }

    fn partition(number: Partition) -> TopicPartition {
        TopicPartition::new("orders", number)
    }

    #[test]
    fn another_id_is_another_topic_and_a_broker_that_lags_behind_changes_nothing() {
        let mut seen = Seen::default();
        assert!(look(&mut seen, 1, 3).is_empty(), "the first look proves nothing");
        assert!(look(&mut seen, 1, 3).is_empty());
        assert!(!seen.is_made_anew("orders", SETTLING));
        assert_eq!(look(&mut seen, 2, 3), ["orders"]);
        assert!(seen.is_made_anew("orders", SETTLING));
        assert!(!seen.is_made_anew("orders", Duration::ZERO), "only for a while");
        assert!(look(&mut seen, 1, 3).is_empty(), "old news");
        assert!(look(&mut seen, 2, 3).is_empty());
        assert_eq!(look(&mut seen, 3, 3), ["orders"]);
    }

    #[test]
    fn partitions_are_added_to_a_topic_that_was_seen_without_them() {
        let mut seen = Seen::default();
        assert!(!seen.was_added(&partition(0)), "nothing was seen yet");
        look(&mut seen, 1, 2);
        look(&mut seen, 1, 4);
        assert!(!seen.was_added(&partition(1)));
        assert!(seen.was_added(&partition(2)));
        look(&mut seen, 2, 2);
        assert!(
            seen.was_added(&partition(0)),
            "of a new topic every partition is new"
        );
    }
}
