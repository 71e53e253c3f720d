//! Which priority's messages start next, in a handler that consumes all three (`priority = "weighted"`).
//!
//! Its lanes share the handler's executions. A lane of a lower priority asks for one only while no lane of
//! a higher one has a message that could start, or when it is owed a start: while it waits for higher ones,
//! each start of the handler adds its share. So what is urgent goes first, what is not never starves, and no
//! execution is idle while anything waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::handler::Priority;

/// How many of a hundred starts a priority gets while higher ones have enough to do for all of them.
const SHARES: [u32; Priority::ALL.len()] = [100, 20, 5];

/// What one start costs who is owed it.
const START: u32 = 100;

/// A handler's priorities, shared by its lanes.
#[derive(Debug)]
pub(crate) struct Priorities {
    /// The place of each topic's priority in [`Priority::ALL`].
    ranks: BTreeMap<String, usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many lanes have a message that could start.
    waiting: [usize; SHARES.len()],
    /// What was added up for those that wait for others.
    owed: [u32; SHARES.len()],
    /// Lanes to be told that they may perhaps ask.
    wakers: Vec<Waker>,
}

impl State {
    fn is_first(&self, rank: usize) -> bool {
        self.waiting[..rank].iter().all(|lanes| *lanes == 0)
    }

    fn wake_all(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Priorities {
    /// Take the topics of a handler: of each topic that it names those of all priorities, see
    /// [`Priority::ALL`].
    pub(super) fn new(topics: &[String]) -> Self {
        let ranks = topics.iter().enumerate();
        Self {
            ranks: ranks
                .map(|(place, topic)| (topic.clone(), place % SHARES.len()))
                .collect(),
            state: Mutex::default(),
        }
    }

    /// Give the lane of a partition of one of the topics its turn.
    pub(super) fn turn(self: &Arc<Self>, topic: &str) -> Turn {
        let rank = self.ranks.get(topic).copied();
        Turn {
            rank: rank.expect("a lane reads one of its handler's topics"),
            priorities: Arc::clone(self),
            waits: false,
            is_asking: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane's part in the handler's priorities.
#[derive(Debug)]
pub(super) struct Turn {
    priorities: Arc<Priorities>,
    rank: usize,
    /// Whether the lane has a message that could start.
    waits: bool,
    /// Whether it may ask for an execution until it has one.
    ///
    /// A lane that stands in line may be given an execution at any time: if it did not take it because
    /// others go first by then, nobody would have it.
    is_asking: bool,
}

impl Turn {
    /// Say whether a message could start that comes now: nothing of a higher priority waits.
    pub(super) fn is_first(&self) -> bool {
        self.priorities.lock().is_first(self.rank)
    }

    /// Say whether the lane has messages that could start.
    pub(super) fn wait(&mut self, waits: bool) {
        if waits == self.waits {
            return;
        }
        self.waits = waits;
        let mut state = self.priorities.lock();
        if waits {
            state.waiting[self.rank] += 1;
            return;
        }
        state.waiting[self.rank] -= 1;
        if state.waiting[self.rank] == 0 {
            state.owed[self.rank] = 0;
            state.wake_all();
        }
    }

    /// Wait until the lane may ask for an execution. Ready again and again until [`begin`](Self::begin).
    pub(super) fn poll_ask(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_asking {
            return Poll::Ready(());
        }
        let mut state = self.priorities.lock();
        if !state.is_first(self.rank) {
            let Some(left) = state.owed[self.rank].checked_sub(START) else {
                if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.wakers.push(cx.waker().clone());
                }
                return Poll::Pending;
            };
            state.owed[self.rank] = left;
        }
        self.is_asking = true;
        Poll::Ready(())
    }

    /// Take note that a message starts.
    pub(super) fn begin(&mut self) {
        self.is_asking = false;
        let mut state = self.priorities.lock();
        let mut is_owed = false;
        for (rank, share) in SHARES.into_iter().enumerate() {
            if state.waiting[rank] > 0 && !state.is_first(rank) {
                state.owed[rank] += share;
                is_owed |= state.owed[rank] >= START;
            }
        }
        if is_owed {
            state.wake_all();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.wait(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> [Turn; SHARES.len()] {
        let topics = ["t.high", "t", "t.low"].map(str::to_owned);
        let priorities = Arc::new(Priorities::new(&topics));
        topics.map(|topic| priorities.turn(&topic))
    }

    /// Let one after the other start what it may, so many in all; return how many each has started.
    fn starts(turns: &mut [Turn; SHARES.len()], waiting: [bool; SHARES.len()], total: usize) -> [usize; 3] {
        let cx = Context::from_waker(Waker::noop());
        let mut started = [0; SHARES.len()];
        for (turn, waits) in turns.iter_mut().zip(waiting) {
            turn.wait(waits);
        }
        while started.iter().sum::<usize>() < total {
            // Who is owed a start has it before the next one of who goes first.
            let asks = |turn: &mut Turn| turn.waits && turn.poll_ask(&cx).is_ready();
            let next = (0..SHARES.len()).rev().find(|rank| asks(&mut turns[*rank]));
            let next = next.expect("the first may always ask");
            turns[next].begin();
            started[next] += 1;
        }
        started
    }

    #[test]
    fn each_priority_has_its_share_of_what_higher_ones_leave() {
        // To within the start that is owed last.
        let check = |waiting, expected: [usize; 3]| {
            let started = starts(&mut turns(), waiting, 1000);
            let is_near = started
                .iter()
                .zip(expected)
                .all(|(started, expected)| started.abs_diff(expected) <= 2);
            assert!(is_near, "{started:?}");
        };
        let [all, none] = [[true; 3], [false, false, true]];
        check(none, [0, 0, 1000]);
        check([true, false, false], [1000, 0, 0]);
        check([true, false, true], [950, 0, 50]);
        check([false, true, true], [0, 950, 50]);
        check(all, [750, 200, 50]);
    }

    #[test]
    fn nothing_is_owed_to_who_did_not_wait() {
        let mut turns = turns();
        assert_eq!(starts(&mut turns, [true, false, true], 19), [19, 0, 0]);
        // Without anything to start it loses what was added up.
        assert_eq!(starts(&mut turns, [true, false, false], 19), [19, 0, 0]);
        assert_eq!(starts(&mut turns, [true, false, true], 19), [19, 0, 0]);
    }

    #[test]
    fn who_is_gone_is_waited_for_by_nobody() {
        let [mut high, _, mut low] = turns();
        let cx = Context::from_waker(Waker::noop());
        high.wait(true);
        low.wait(true);
        assert!(low.poll_ask(&cx).is_pending() && !low.is_first());
        drop(high);
        assert!(low.poll_ask(&cx).is_ready() && low.is_first());
    }

    #[test]
    fn who_stands_in_line_keeps_its_place() {
        let [mut high, _, mut low] = turns();
        let cx = Context::from_waker(Waker::noop());
        low.wait(true);
        assert!(low.poll_ask(&cx).is_ready());
        high.wait(true);
        assert!(low.poll_ask(&cx).is_ready());
        low.begin();
        assert!(low.poll_ask(&cx).is_pending());
    }
}
