//! Stands for the client of some other service, with its ways to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A client of the bank, shared by all handlers. Cheap to clone, as a state should be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bank {
    received: Arc<AtomicU64>,
}

/// The bank did not take the money.
#[derive(Debug)]
pub(crate) enum BankError {
    /// It asks to come again a little later.
    Busy,
    /// It cannot be reached.
    Unreachable,
    /// It will never take this.
    Declined,
}

impl Bank {
    /// Take money, and return how much was taken in all. The customers `busy` and `lost` stand for
    /// trouble on the first try and on every try.
    pub(crate) async fn take(&self, customer: &str, cents: u64, attempt: u32) -> Result<u64, BankError> {
        match customer {
            _ if cents == 0 => Err(BankError::Declined),
            "busy" if attempt == 1 => Err(BankError::Busy),
            "lost" => Err(BankError::Unreachable),
            _ => Ok(self.received.fetch_add(cents, Relaxed) + cents),
        }
    }
}

impl std::fmt::Display for BankError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "the bank is busy",
            Self::Unreachable => "the bank cannot be reached",
            Self::Declined => "the bank declines",
        })
    }
}

impl std::error::Error for BankError {}
