//! Threads that need not be woken on the dot.
//!
//! Each of librdkafka's threads wakes once a second or more often, whatever there is to do, and an idle
//! process does little else. A thread whose clock may be late lets the kernel wake it together with
//! others, which costs a quarter less of all that an idle process costs. A thread has the timer slack of
//! the one that started it, so it is set while a client starts its threads. Those that carry messages
//! take it back when they connect.

use std::time::Duration;

/// How late the clock of a thread may be that carries no messages: little beside the seconds between
/// heartbeats. What comes by a socket or a queue wakes it at once all the same.
const SLACK: Duration = Duration::from_millis(100);
/// What Linux gives to a process that asks for nothing else.
const USUAL: Duration = Duration::from_micros(50);

/// Start threads that may wake late, where the system can.
pub(super) fn with<T>(start: impl FnOnce() -> T) -> T {
    // Who may not set it wakes on time: nothing but a little cost.
    set(SLACK);
    let started = start();
    set(USUAL);
    started
}

/// Have this thread woken on time from now on.
pub(super) fn none() {
    set(USUAL);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set(slack: Duration) {
    let nanos = u64::try_from(slack.as_nanos()).ok();
    let _ = rustix::thread::set_current_timer_slack(nanos.and_then(std::num::NonZeroU64::new));
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set(_slack: Duration) {}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::thread;

    use super::*;

    fn current() -> u128 {
        rustix::thread::current_timer_slack()
            .expect("the system has it")
            .into()
    }

    #[test]
    fn threads_started_meanwhile_may_wake_late_until_they_say_otherwise() {
        let started = with(|| {
            thread::spawn(|| {
                let before = current();
                none();
                (before, current())
            })
        });
        let (before, after) = started.join().expect("it does not panic");
        assert_eq!((before, after), (SLACK.as_nanos(), USUAL.as_nanos()));
        assert_eq!(current(), USUAL.as_nanos());
    }
}
