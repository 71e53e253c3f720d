//! What Redis or its client says → what that means to us.
//!
//! The client never sends a command a second time by itself, and a command that was sent and not answered
//! is of unknown outcome. Only an answer can say that nothing was written.

use athomic_core::store::StoreError;
use fred::error::{Error, ErrorKind};

use crate::fitness::COMMANDS;
use crate::reply::Unreadable;

/// Answers that say: not now. Redis refuses a command with these before it does any of it.
const NOT_NOW: [&str; 9] = [
    "LOADING",
    "READONLY",
    "OOM",
    "BUSY",
    "MASTERDOWN",
    "TRYAGAIN",
    "MISCONF",
    "NOREPLICAS",
    "UNKILLABLE",
];

/// Classify an error of the store that has this name.
pub(crate) fn classify(store: &str, error: Error) -> StoreError {
    let store = store.to_owned();
    let reason = error.details().to_owned();
    let code = reason.split_whitespace().next().unwrap_or_default();
    let remedy = match code {
        code if NOT_NOW.contains(&code) => return StoreError::Unavailable { store, reason },
        "NOAUTH" => "write its user and password into the `uri`".to_owned(),
        "WRONGPASS" => "mend the user or the password in the `uri`".to_owned(),
        "NOPERM" => format!("its user needs the commands {COMMANDS} on the keys `ath:*`"),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            return StoreError::Unfit {
                store,
                reason: "it is a node of a cluster".to_owned(),
                remedy: "begin the `uri` with `redis-cluster://` or `rediss-cluster://`".to_owned(),
            };
        }
        // Told for a lost connection too, and then to commands that had been sent: the outcome is unknown.
        "CLUSTERDOWN" => return unreachable(store, error),
        // What a script says of a command that its user may not run, in Redis 7.0 and later.
        _ if reason.contains("ACL failure") || reason.contains("The user executing the script") => {
            format!("its user needs the commands {COMMANDS} on the keys `ath:*`")
        }
        "ERR" | "WRONGTYPE" | "NOSCRIPT" => return StoreError::Malformed { store, reason },
        _ => {
            return match error.kind() {
                ErrorKind::Auth => refused(store, reason),
                ErrorKind::Config | ErrorKind::Url => unfit(store, reason),
                _ => unreachable(store, error),
            };
        }
    };
    StoreError::Refused {
        store,
        reason,
        remedy,
    }
}

fn unreachable(store: String, error: Error) -> StoreError {
    StoreError::Unreachable {
        store,
        source: Box::new(error),
    }
}

fn refused(store: String, reason: String) -> StoreError {
    StoreError::Refused {
        store,
        reason,
        remedy: "mend the user or the password in the `uri`".to_owned(),
    }
}

fn unfit(store: String, reason: String) -> StoreError {
    StoreError::Unfit {
        store,
        reason,
        remedy: "compare the `uri` with what the server is".to_owned(),
    }
}

/// Say that a reply cannot be read.
pub(crate) fn malformed(store: &str, reason: &Unreadable) -> StoreError {
    StoreError::Malformed {
        store: store.to_owned(),
        reason: reason.0.to_owned(),
    }
}

/// Say whether the server does not know a script, and so did nothing.
pub(crate) fn is_no_script(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}

/// Say whether the server is no master any more: another one is to be looked for.
pub(crate) fn is_demoted(error: &Error) -> bool {
    error.details().starts_with("READONLY") || error.details().starts_with("MASTERDOWN")
}
