//! Which delay topic a message waits in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A delay topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The longest delay of a message in it.
    pub delay: Duration,
    /// The topic.
    pub topic: Arc<str>,
}

/// The delay topics of an application, at least one.
///
/// ```
/// use std::time::Duration;
/// use athomic_core::delay::Buckets;
///
/// let minute = Duration::from_secs(60);
/// let buckets = Buckets::new([(minute, "delay-1m"), (5 * minute, "delay-5m")]).expect("there are some");
/// assert_eq!(&*buckets.at_least(2 * minute).expect("within five minutes").topic, "delay-5m");
/// assert!(buckets.at_least(6 * minute).is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(
    /// By rising delay; never empty, no delay is zero.
    Vec<Bucket>,
);

impl Buckets {
    /// Take delays and their topics; `None` if there are none, or one has no delay.
    pub fn new<T: Into<Arc<str>>>(topics: impl IntoIterator<Item = (Duration, T)>) -> Option<Self> {
        let bucket = |(delay, topic): (Duration, T)| Bucket {
            delay,
            topic: topic.into(),
        };
        let mut buckets: Vec<Bucket> = topics.into_iter().map(bucket).collect();
        buckets.sort_by_key(|bucket| bucket.delay);
        let some = buckets.first().is_some_and(|first| !first.delay.is_zero());
        some.then_some(Self(buckets))
    }

    /// Iterate over the buckets by rising delay.
    pub fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.0.iter()
    }

    /// Return the smallest bucket that is at least a delay.
    #[must_use]
    pub fn at_least(&self, delay: Duration) -> Option<&Bucket> {
        self.0.iter().find(|bucket| bucket.delay >= delay)
    }

    /// Return the bucket of the next hop: the largest that is not longer than what remains, so that all in
    /// it wait equally long; for less than the smallest, that one.
    #[must_use]
    pub fn for_hop(&self, remaining: Duration) -> &Bucket {
        let mut shorter = self.0.iter().rev();
        shorter
            .find(|bucket| bucket.delay <= remaining)
            .unwrap_or(&self.0[0])
    }

    /// Return over how many hops a delay leads, one bucket each.
    #[must_use]
    pub fn hops(&self, delay: Duration) -> u128 {
        let (mut hops, mut remaining) = (0, delay.as_nanos());
        for bucket in self.0.iter().rev() {
            hops += remaining / bucket.delay.as_nanos();
            remaining %= bucket.delay.as_nanos();
        }
        hops + u128::from(remaining > 0)
    }

    /// Return the bucket of a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> Option<&Bucket> {
        self.0.iter().find(|bucket| &*bucket.topic == topic)
    }
}

/// Shows the delays with their topics: `60s: delay-1m, 300s: delay-5m`.
impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, bucket) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{:?}: {}", bucket.delay, bucket.topic)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn buckets() -> Buckets {
        Buckets::new([(3600 * SECOND, "h"), (60 * SECOND, "1m"), (300 * SECOND, "5m")]).unwrap()
    }

    #[test]
    fn the_smallest_bucket_that_is_at_least_the_delay_is_chosen() {
        let check = |seconds, expected: Option<&str>| {
            let found = buckets().at_least(Duration::from_secs_f64(seconds)).cloned();
            assert_eq!(found.as_ref().map(|bucket| &*bucket.topic), expected, "{seconds}");
        };
        check(0.001, Some("1m"));
        check(60.0, Some("1m"));
        check(60.001, Some("5m"));
        check(300.0, Some("5m"));
        check(3600.0, Some("h"));
        check(3600.001, None);
    }

    #[test]
    fn hops_lead_through_falling_buckets() {
        let check = |seconds, expected: &str| {
            let found = buckets().for_hop(Duration::from_secs_f64(seconds)).topic.clone();
            assert_eq!(&*found, expected, "{seconds}");
        };
        check(7200.0, "h");
        check(3599.9, "5m");
        check(300.0, "5m");
        check(299.0, "1m");
        check(0.5, "1m");
    }

    #[test]
    fn there_is_at_least_one_bucket_and_none_is_empty() {
        assert_eq!(Buckets::new::<&str>([]), None);
        assert_eq!(Buckets::new([(Duration::ZERO, "t")]), None);
    }

    proptest! {
        #[test]
        fn the_hops_of_a_delay_are_as_many_as_are_made(seconds in 0..100_000u32) {
            let (mut hops, mut remaining) = (0, seconds * SECOND);
            while !remaining.is_zero() {
                remaining = remaining.saturating_sub(buckets().for_hop(remaining).delay);
                hops += 1;
            }
            prop_assert_eq!(buckets().hops(seconds * SECOND), hops);
        }
    }
}
