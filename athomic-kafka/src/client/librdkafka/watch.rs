//! One look at the topics of all members of a connection, in place of one for each.
//!
//! Every look wakes four threads and asks a broker, and a process may have many members. They are all of one
//! cluster and one user, so whoever comes first when it is time asks for all, and passes on what concerns
//! the others.
//!
//! # Invariants
//! - A member is told of each id that it was not told of last, whoever asked.
//! - Nobody waits for one member in particular: who asked last lets the others go first, so that a client
//!   that gets no answers costs one look.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::native::{TopicId, TopicSeen};

/// How often the topics are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How long who asked last waits for somebody else to ask.
const AFTER_YOU: Duration = Duration::from_millis(500);

/// Tells a member of a connection from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberId(u64);

/// The topics of a connection, and who wants to hear of them.
pub(crate) struct Watch(Mutex<Watched>);

struct Watched {
    members: Vec<Watcher>,
    last_member: u64,
    next: Instant,
    asked_last: Option<MemberId>,
}

struct Watcher {
    member: MemberId,
    /// Its topics, each with the id that it was told of last.
    topics: HashMap<String, Option<TopicId>>,
    /// What it has not taken note of yet.
    news: Vec<TopicSeen>,
    wake: Box<dyn Fn() + Send>,
}

impl Default for Watch {
    fn default() -> Self {
        Self(Mutex::new(Watched {
            members: Vec::new(),
            last_member: 0,
            next: Instant::now() + EVERY,
            asked_last: None,
        }))
    }
}

impl Watch {
    /// Begin to tell a member of its topics; `wake` is called when there are news.
    pub(super) fn join(&self, topics: &[String], wake: impl Fn() + Send + 'static) -> MemberId {
        let mut watched = self.lock();
        watched.last_member += 1;
        let member = MemberId(watched.last_member);
        watched.members.push(Watcher {
            member,
            topics: topics.iter().map(|topic| (topic.clone(), None)).collect(),
            news: Vec::new(),
            wake: Box::new(wake),
        });
        member
    }

    /// Tell a member nothing more.
    pub(super) fn leave(&self, member: MemberId) {
        let mut watched = self.lock();
        let of_member = watched.members.iter().position(|other| other.member == member);
        let gone = of_member.map(|place| watched.members.swap_remove(place));
        drop(watched);
        // What it refers to may want a lock of its own when it goes.
        drop(gone);
    }

    /// Return when a member is to take its [`turn`](Self::turn).
    pub(super) fn due(&self, member: MemberId) -> Instant {
        self.lock().due(member)
    }

    /// Return the topics of all members if it is time, and if it is this one that is to ask for them.
    pub(super) fn turn(&self, member: MemberId, now: Instant) -> Option<Vec<String>> {
        let mut watched = self.lock();
        if now < watched.due(member) {
            return None;
        }
        watched.next = now + EVERY;
        watched.asked_last = Some(member);
        let topics = watched.members.iter().flat_map(|watcher| watcher.topics.keys());
        let mut topics: Vec<_> = topics.cloned().collect();
        topics.sort_unstable();
        topics.dedup();
        Some(topics)
    }

    /// Pass on what was seen of topics.
    pub(super) fn tell(&self, seen: &[TopicSeen]) {
        for watcher in &mut self.lock().members {
            for topic in seen {
                watcher.tell(topic);
            }
            if !watcher.news.is_empty() {
                (watcher.wake)();
            }
        }
    }

    /// Return what a member has not heard of yet.
    pub(super) fn news(&self, member: MemberId) -> Vec<TopicSeen> {
        let mut watched = self.lock();
        let mut members = watched.members.iter_mut();
        let watcher = members.find(|watcher| watcher.member == member);
        watcher.map_or_else(Vec::new, |watcher| std::mem::take(&mut watcher.news))
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn due(&self, member: MemberId) -> Instant {
        if self.asked_last == Some(member) {
            self.next + AFTER_YOU
        } else {
            self.next
        }
    }
}

impl Watcher {
    fn tell(&mut self, seen: &TopicSeen) {
        if let Some(told) = self.topics.get_mut(&seen.name)
            && *told != Some(seen.id)
        {
            *told = Some(seen.id);
            self.news.push(seen.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn join(watch: &Watch, topics: &[&str]) -> (MemberId, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let topics: Vec<_> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let member = watch.join(&topics, move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        (member, woken)
    }

    fn seen(name: &str, id: i64) -> TopicSeen {
        TopicSeen {
            name: name.to_owned(),
            id: TopicId(0, id),
            partitions: 1,
        }
    }

    #[test]
    fn one_member_asks_for_all_and_who_asked_last_lets_others_go_first() {
        let watch = Watch::default();
        let (first, _) = join(&watch, &["orders", "payments"]);
        let (second, _) = join(&watch, &["orders"]);
        let now = watch.due(first);
        assert_eq!(watch.turn(first, now - Duration::from_millis(1)), None);
        assert_eq!(watch.turn(first, now).expect("its turn"), ["orders", "payments"]);
        assert_eq!(watch.turn(second, now), None, "somebody has asked");
        let later = watch.due(second);
        assert!(watch.due(first) > later);
        assert!(watch.turn(second, later).is_some());
        watch.leave(second);
        let alone = watch.due(first);
        assert!(watch.turn(first, alone).is_some(), "nobody else will");
        assert!(watch.due(first) <= alone + EVERY + AFTER_YOU);
    }

    #[test]
    fn each_member_hears_once_of_each_change_in_its_topics() {
        let watch = Watch::default();
        let (orders, woken) = join(&watch, &["orders"]);
        let (others, of_others) = join(&watch, &["payments"]);
        watch.tell(&[seen("orders", 1)]);
        assert_eq!(watch.news(orders), [seen("orders", 1)]);
        watch.tell(&[seen("orders", 1)]);
        assert_eq!(watch.news(orders), []);
        watch.tell(&[seen("orders", 2), seen("unknown", 1)]);
        assert_eq!(watch.news(orders), [seen("orders", 2)]);
        assert_eq!(woken.load(Ordering::SeqCst), 2);
        let (late, _) = join(&watch, &["orders"]);
        watch.tell(&[seen("orders", 2)]);
        assert_eq!(watch.news(late), [seen("orders", 2)], "it was not told before");
        assert_eq!(watch.news(others), []);
        assert_eq!(of_others.load(Ordering::SeqCst), 0);
    }
}
