//! Which outcomes a closed circuit looks at: the last ones, by number or by time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::policy::Window;

/// In how many parts a window of time moves on.
const PARTS: u32 = 10;

/// How many messages failed, of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) failed: u32,
    pub(crate) total: u32,
}

impl Tally {
    /// One message.
    pub(crate) const fn one(failed: bool) -> Self {
        Self {
            failed: failed as u32,
            total: 1,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.failed = self.failed.saturating_add(other.failed);
        self.total = self.total.saturating_add(other.total);
    }

    /// Say whether the failures alone are so large a part of at least `least` messages.
    pub(super) fn reaches(self, percent: u8, least: u32) -> bool {
        u64::from(self.failed) * 100 >= u64::from(percent) * u64::from(self.total.max(least))
    }
}

/// The outcomes that count at present.
#[derive(Debug)]
pub(super) enum Rolling {
    /// The last ones, each whether it failed; the oldest first.
    Calls {
        outcomes: VecDeque<bool>,
        size: usize,
        failed: u32,
    },
    /// Those of the last time, in parts; the oldest first, each with when it began.
    Time {
        parts: VecDeque<(Instant, Tally)>,
        length: Duration,
    },
}

impl Rolling {
    pub(super) fn new(window: Window) -> Self {
        match window {
            Window::Calls(calls) => Self::Calls {
                outcomes: VecDeque::new(),
                size: calls as usize,
                failed: 0,
            },
            Window::Time(length) => Self::Time {
                parts: VecDeque::with_capacity(PARTS as usize + 1),
                length,
            },
        }
    }

    /// Take outcomes, and return what counts now.
    pub(super) fn add(&mut self, now: Instant, tally: Tally) -> Tally {
        match self {
            Self::Calls {
                outcomes,
                size,
                failed,
            } => {
                for index in 0..tally.total {
                    if outcomes.len() == *size {
                        *failed -= u32::from(outcomes.pop_front().unwrap_or_default());
                    }
                    let is_failed = index < tally.failed;
                    outcomes.push_back(is_failed);
                    *failed += u32::from(is_failed);
                }
                Tally {
                    failed: *failed,
                    total: u32::try_from(outcomes.len()).unwrap_or(u32::MAX),
                }
            }
            Self::Time { parts, length } => {
                while parts.front().is_some_and(|(began, _)| now - *began >= *length) {
                    parts.pop_front();
                }
                match parts.back_mut() {
                    Some((began, part)) if now - *began < *length / PARTS => part.add(tally),
                    _ => parts.push_back((now, tally)),
                }
                let mut all = Tally::default();
                parts.iter().for_each(|(_, part)| all.add(*part));
                all
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Tally = Tally::one(true);
    const DONE: Tally = Tally::one(false);

    fn tally(failed: u32, total: u32) -> Tally {
        Tally { failed, total }
    }

    #[test]
    fn by_number_the_oldest_outcome_makes_room_for_the_next() {
        let (mut window, now) = (Rolling::new(Window::Calls(3)), Instant::now());
        let added = [FAILED, DONE, FAILED, DONE, DONE, DONE].map(|outcome| window.add(now, outcome));
        let expected = [(1, 1), (1, 2), (2, 3), (1, 3), (1, 3), (0, 3)];
        assert_eq!(added, expected.map(|(failed, total)| tally(failed, total)));
        assert_eq!(window.add(now, tally(2, 5)), tally(0, 3));
    }

    #[test]
    fn by_time_what_is_too_old_does_not_count() {
        let mut window = Rolling::new(Window::Time(Duration::from_secs(10)));
        let began = Instant::now();
        let at = |tenths: u64| began + Duration::from_millis(100 * tenths);
        assert_eq!(window.add(at(0), FAILED), tally(1, 1));
        assert_eq!(window.add(at(5), FAILED), tally(2, 2));
        assert_eq!(window.add(at(50), DONE), tally(2, 3));
        assert_eq!(window.add(at(99), DONE), tally(2, 4));
        assert_eq!(window.add(at(100), DONE), tally(0, 3));
        assert_eq!(window.add(at(500), FAILED), tally(1, 1));
    }

    #[test]
    fn a_rate_is_reached_by_failures_and_not_by_what_is_missing() {
        assert!(tally(5, 10).reaches(50, 1));
        assert!(!tally(4, 10).reaches(50, 1));
        assert!(tally(2, 2).reaches(50, 4));
        assert!(!tally(1, 1).reaches(50, 4));
        assert!(tally(1, 1).reaches(100, 1));
    }
}
