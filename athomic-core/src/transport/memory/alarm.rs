//! A timer that is armed only when somebody waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that can be set again and again. Needs tokio's clock only once it is polled.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Wait until a moment, which may differ from call to call.
    pub(super) fn poll_until(&mut self, moment: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(moment)));
        if sleep.deadline() != moment {
            sleep.as_mut().reset(moment);
        }
        sleep.as_mut().poll(cx)
    }

    /// Let the timer go.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
