//! Policies from several sources → what holds, and what contradicts what.
//!
//! Each key is taken from the highest source that says it. A key that only means something with a
//! certain value of another one (a time-out with an action, say) may be left over from a lower source;
//! said at the same source or a higher one it would be ignored, which is a fault.

use std::num::NonZeroU32;
use std::time::Duration;

use super::options::{DurabilityRule, FirstSequenceRule, GapRule, OrderingOptions, SETTLE};
use super::{Durability, FirstSequence, OnGap, OrderingPolicies};

/// The shortest life of a session: it is renewed each third of it.
const LEAST_SESSION: Duration = Duration::from_secs(3);
/// The most buckets: as many as a Redis cluster has slots.
const MOST_BUCKETS: u16 = 16_384;
/// What a bound of 0 would mean.
const NO_ROOM: &str = "no message could wait for the one before it";

/// Who says something, the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The policies that hold where nothing else is said.
    Base,
    /// `integration.messaging.ordering`.
    Settings,
    /// The attribute, or the registration by hand.
    Attribute,
    /// `integration.messaging.handler_tuning`.
    HandlerTuning,
}

/// A policy that cannot hold, by its name in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) key: &'static str,
    /// Who said it, or made it necessary.
    pub(crate) source: Source,
    /// It was not said at all.
    pub(crate) is_missing: bool,
    /// What is wrong with it.
    pub(crate) problem: String,
    pub(crate) remedy: &'static str,
}

/// Lay `layers` over `base`, the last one strongest.
pub(crate) fn merge(
    base: &OrderingPolicies,
    layers: &[(Source, &OrderingOptions)],
) -> (OrderingPolicies, Vec<Conflict>) {
    let mut merge = Merge {
        base: base.into(),
        layers,
        conflicts: Vec::new(),
    };
    let policies = OrderingPolicies {
        first_sequence: merge.first_sequence(),
        on_gap: merge.on_gap(),
        on_late: merge.value(|options| options.on_late),
        on_regression: merge.value(|options| options.on_regression),
        on_poison: merge.value(|options| options.on_poison),
        max_deliveries: merge.max_deliveries(base),
        room_max_messages: merge.room("room_max_messages", "bucket_max_messages", |options| {
            [options.room_max_messages, options.bucket_max_messages]
        }),
        room_max_bytes: merge.room("room_max_bytes", "bucket_max_bytes", |options| {
            [options.room_max_bytes, options.bucket_max_bytes]
        }),
        bucket_max_messages: merge.bound("bucket_max_messages", NO_ROOM, |options| {
            options.bucket_max_messages
        }),
        bucket_max_bytes: merge.bound("bucket_max_bytes", NO_ROOM, |options| options.bucket_max_bytes),
        buckets: merge.buckets(),
        durability: merge.durability(),
        complete: merge.value(|options| options.complete),
        session_ttl: merge.session_ttl(),
        state_ttl: Some(merge.value(|options| options.state_ttl)).filter(|ttl| !ttl.is_zero()),
        sticky: merge.value(|options| options.sticky),
    };
    (policies, merge.conflicts)
}

struct Merge<'a> {
    /// With everything that the policies say.
    base: OrderingOptions,
    layers: &'a [(Source, &'a OrderingOptions)],
    conflicts: Vec<Conflict>,
}

impl Merge<'_> {
    /// Return what the strongest source says that says anything.
    fn find<T>(&self, key: impl Fn(&OrderingOptions) -> Option<T>) -> Option<(T, Source)> {
        let said = self.layers.iter().rev();
        said.map(|(source, options)| (*source, *options))
            .chain([(Source::Base, &self.base)])
            .find_map(|(source, options)| Some((key(options)?, source)))
    }

    fn said<T>(&self, key: impl Fn(&OrderingOptions) -> Option<T>) -> (T, Source) {
        self.find(key).expect("the base says everything")
    }

    fn value<T>(&self, key: impl Fn(&OrderingOptions) -> Option<T>) -> T {
        self.said(key).0
    }

    fn conflict(&mut self, key: &'static str, source: Source, problem: String, remedy: &'static str) {
        self.conflicts.push(Conflict {
            key,
            source,
            is_missing: false,
            problem,
            remedy,
        });
    }

    /// Refuse a key that has no effect with what `by` says, unless a stronger source said `by` since.
    fn no_effect(
        &mut self,
        key: &'static str,
        (said, by): (Source, Source),
        with: &str,
        remedy: &'static str,
    ) {
        if said >= by && said > Source::Base {
            self.conflict(key, said, format!("has no effect with {with}"), remedy);
        }
    }

    fn first_sequence(&mut self) -> FirstSequence {
        let (first, by) = self.said(|options| options.first_sequence);
        let settle = self.find(|options| options.first_seen_settle);
        let with = match first {
            FirstSequenceRule::FirstSeen => {
                let settle = settle.map_or(SETTLE, |(settle, _)| settle);
                return FirstSequence::FirstSeen { settle };
            }
            FirstSequenceRule::Exact(first) => format!("`first_sequence = {first}`"),
            FirstSequenceRule::Hook => "`first_sequence = \"hook\"`".to_owned(),
        };
        if let Some((_, said)) = settle {
            let remedy = "set `first_sequence = \"first_seen\"`, or remove it";
            self.no_effect("first_seen_settle_ms", (said, by), &with, remedy);
        }
        match first {
            FirstSequenceRule::Exact(first) => FirstSequence::Exact(first),
            _ => FirstSequence::Hook,
        }
    }

    fn on_gap(&mut self) -> OnGap {
        let (rule, by) = self.said(|options| options.on_gap);
        let (timeout, said) = self.said(|options| options.gap_timeout);
        match rule {
            GapRule::Wait if timeout.is_zero() => OnGap::Wait,
            GapRule::Wait => {
                let remedy =
                    "say what is to be done then by `on_gap` (`skip`, `dlq` or `halt`), or remove it";
                let with = "`on_gap = \"wait\"`, which waits for ever";
                self.no_effect("gap_timeout_seconds", (said, by), with, remedy);
                OnGap::Wait
            }
            GapRule::Act(action) if !timeout.is_zero() => OnGap::After(timeout, action),
            GapRule::Act(_) => {
                self.without_timeout(rule, said, by);
                OnGap::Wait
            }
        }
    }

    fn without_timeout(&mut self, rule: GapRule, said: Source, by: Source) {
        let word = rule.as_str();
        if said >= by && said > Source::Base {
            let problem = format!("is 0, and then `on_gap = \"{word}\"` never does anything");
            let remedy = "set a time, or `on_gap = \"wait\"`";
            return self.conflict("gap_timeout_seconds", said, problem, remedy);
        }
        self.conflicts.push(Conflict {
            key: "gap_timeout_seconds",
            source: by,
            is_missing: true,
            problem: format!("`on_gap = \"{word}\"` needs it"),
            remedy: "say after which time a sequence is given up, or set `on_gap = \"wait\"`",
        });
    }

    fn durability(&mut self) -> Durability {
        let (rule, by) = self.said(|options| options.durability);
        let (replicas, said) = self.said(|options| options.redis_ack_replicas);
        let (fsync, fsync_said) = self.said(|options| options.redis_ack_fsync);
        if rule == DurabilityRule::Redis {
            return Durability::Redis { replicas, fsync };
        }
        let with = "`durability = \"kafka\"`, where nothing is lost with the store";
        let remedy = "set `durability = \"redis\"`, or remove it";
        if replicas > 0 {
            self.no_effect("redis_ack_replicas", (said, by), with, remedy);
        }
        if fsync {
            self.no_effect("redis_ack_fsync", (fsync_said, by), with, remedy);
        }
        Durability::Kafka
    }

    fn max_deliveries(&mut self, base: &OrderingPolicies) -> NonZeroU32 {
        let why = "no message could ever be handled";
        let deliveries = self.bound("max_deliveries", why, |options| options.max_deliveries);
        NonZeroU32::new(deliveries).unwrap_or(base.max_deliveries)
    }

    /// Take a number that is not 0.
    fn bound<T: Copy + Default + PartialEq>(
        &mut self,
        key: &'static str,
        why: &str,
        read: impl Fn(&OrderingOptions) -> Option<T>,
    ) -> T {
        let (bound, said) = self.said(read);
        if bound == T::default() {
            let problem = format!("is 0, and then {why}");
            self.conflict(key, said, problem, "set it to 1 or more, or remove it");
        }
        bound
    }

    /// Take the bound of a room, which lies within that of its bucket.
    fn room(
        &mut self,
        key: &'static str,
        bucket_key: &'static str,
        read: impl Fn(&OrderingOptions) -> [Option<u64>; 2],
    ) -> u64 {
        let room = self.bound(key, NO_ROOM, |options| read(options)[0]);
        let (_, said) = self.said(|options| read(options)[0]);
        let (bucket, by) = self.said(|options| read(options)[1]);
        if room > bucket && bucket > 0 && said >= by && said > Source::Base {
            let problem =
                format!("is {room}, which is more than its bucket takes (`{bucket_key}` is {bucket})");
            self.conflict(key, said, problem, "lower it, or raise the bucket's");
        }
        room.min(bucket)
    }

    fn buckets(&mut self) -> u16 {
        let (buckets, said) = self.said(|options| options.buckets);
        if !(1..=MOST_BUCKETS).contains(&buckets) {
            let problem = format!("is {buckets}");
            self.conflict("buckets", said, problem, "set it to 1 to 16384, or remove it");
        }
        buckets
    }

    fn session_ttl(&mut self) -> Duration {
        let (ttl, said) = self.said(|options| options.session_ttl);
        if ttl < LEAST_SESSION {
            let problem = format!(
                "is {} ms: a pause of the process or the network would cost it its aggregates",
                ttl.as_millis()
            );
            self.conflict("session_ttl_ms", said, problem, "set it to 3 s or more");
        }
        ttl
    }
}

#[cfg(test)]
mod tests;
