//! Help for tests: of applications, and of transports that others write.
//!
//! - [`transport_conformance!`](crate::transport_conformance) makes one test of each obligation of the
//!   transport contract; see [`transport`].
//! - [`seed_jitter`] takes the chance out of delays.
//! - [`eventually`] waits for a condition with a deadline, in place of sleeps.

pub mod delay;
pub mod fuzz;
pub mod idempotency;
pub mod key_value;
pub mod ordering;
pub mod payload;
pub mod queue;
mod space;
pub mod transport;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Take the chance out of all delays with jitter on this thread: they are the same after each call with
/// the same seed.
pub fn seed_jitter(seed: u64) {
    crate::retry::seed_jitter(seed);
}

/// Wait until a condition holds; `false` if it does not before the deadline.
///
/// For conditions that nobody can wait on otherwise. It looks often at first and then less so, and
/// a paused clock makes it instant.
///
/// ```
/// use std::time::Duration;
/// use athomic_core::testing::eventually;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let mut looks = 0;
/// assert!(eventually(Duration::from_secs(5), || { looks += 1; looks == 3 }).await);
/// assert!(!eventually(Duration::ZERO, || false).await);
/// # });
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the condition may not hold"]
pub async fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    eventually_async(deadline, async || condition()).await
}

/// Wait until a condition holds that has to be asked for; `false` if it does not before the deadline.
#[must_use = "the condition may not hold"]
pub async fn eventually_async(deadline: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if timeout(deadline, condition()).await.unwrap_or(false) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
