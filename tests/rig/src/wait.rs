//! Conditions with a deadline, and names that nobody else has.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wait until a condition holds, for two minutes at most.
///
/// # Panics
/// When it does not hold in time.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(120), what, holds).await;
}

/// Wait until a condition holds, and return how long that took.
///
/// # Panics
/// When it does not hold in time.
pub async fn within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "waited {limit:?} until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

/// Make a name that no other run has, for topics and groups on a broker that is shared.
pub fn unique(what: &str) -> String {
    format!("{what}.{}", now())
}

/// Return the time as journals have it: in nanoseconds since 1970.
pub(crate) fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_nanos()
}
