//! SIGTERM and SIGINT; elsewhere than on Unix, Ctrl-C.

use std::io;

/// The number that a shell adds to 128 for a process that Ctrl-C ended.
const SIGINT: i32 = 2;
#[cfg(unix)]
const SIGTERM: i32 = 15;

/// The signals that end an application.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    last: i32,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            last: SIGINT,
        })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { last: SIGINT })
    }

    /// Wait for the next signal and return its name.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => {
                self.last = SIGTERM;
                "SIGTERM"
            }
            _ = self.interrupt.recv() => {
                self.last = SIGINT;
                "SIGINT"
            }
        }
    }

    /// Wait for the next signal and return its name.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> &'static str {
        let _no_console = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }

    /// End the process as the last signal would have, without a drain or a commit.
    pub(super) fn exit(&self) -> ! {
        std::process::exit(128 + self.last)
    }
}
