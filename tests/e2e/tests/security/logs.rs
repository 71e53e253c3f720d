//! Everything that is logged, by whatever part of the program, at every level.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Begin to keep what is logged. Shared by all tests of the program.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Keeper)
            .init();
    });
}

/// Return all that was logged so far.
pub(crate) fn all() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&lines).into_owned()
}

/// Return what the Kafka client had to say in the end.
pub(crate) fn of_the_client() -> String {
    let all = all();
    let said = all
        .lines()
        .filter(|line| line.contains("librdkafka") || line.contains("trouble with Kafka"));
    let said: Vec<&str> = said.collect();
    said[said.len().saturating_sub(50)..].join("\n")
}

struct Keeper;

impl io::Write for Keeper {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
