//! What can go wrong between us and a store.

use std::error::Error;

/// A boxed cause.
type Source = Box<dyn Error + Send + Sync>;

/// A call of a store failed.
///
/// Unless a variant says otherwise the call may have been carried out: its outcome is asked for by
/// repeating it with the same arguments, which every call of a store allows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store does not answer, or not in time. Retriable.
    #[error("store `{store}` does not answer")]
    Unreachable {
        /// The store's name in the settings, with its address.
        store: String,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// The store answers and cannot do it now: it loads, has no memory, is a replica, or is busy. Nothing
    /// was written; or it was, and too few others have it to count on it. Retriable.
    #[error("store `{store}` cannot take this now: {reason}")]
    Unavailable {
        /// The store's name in the settings, with its address.
        store: String,
        /// What it said.
        reason: String,
    },
    /// The session is not alive in the store: its leases may be somebody else's. Not retriable in this
    /// session; nothing was written.
    #[error("the session has lapsed in the store")]
    SessionLapsed,
    /// The store refused who we are or what we want. Not retriable.
    #[error("store `{store}` refuses: {reason}; {remedy}")]
    Refused {
        /// The store's name in the settings, with its address.
        store: String,
        /// What it said.
        reason: String,
        /// What to change, such as "its user needs the command `EVALSHA`".
        remedy: String,
    },
    /// What the store holds was made under other policies. Not retriable.
    #[error(
        "`{policy}` is {ours} here and {theirs} in the store; messages that wait there were taken in under {theirs}: set it back, or give the handler another `handler_id` or `group_id`, which starts anew"
    )]
    PolicyMismatch {
        /// Which one, by its name in the settings.
        policy: &'static str,
        /// What the application says.
        ours: String,
        /// What the store has.
        theirs: String,
    },
    /// The store's own settings do not allow to keep what must not be lost. Not retriable.
    #[error("store `{store}` is not fit for this: {reason}; {remedy}")]
    Unfit {
        /// The store's name in the settings, with its address.
        store: String,
        /// What is the matter with it.
        reason: String,
        /// What to change there.
        remedy: String,
    },
    /// What the store returned cannot be read: another version, or damage. Not retriable.
    #[error("store `{store}` returned what cannot be read: {reason}")]
    Malformed {
        /// The store's name in the settings, with its address.
        store: String,
        /// What it was.
        reason: String,
    },
}

impl StoreError {
    /// Say whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable { .. })
    }
}
