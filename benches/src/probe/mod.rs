//! What is measured by itself, beside no loop: an application that has nothing to do, how long a message
//! is on its way, and the memory that messages in flight take.

pub mod idle;
pub mod in_flight;
pub mod latency;

/// What a probe's process has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// `host:port`.
    pub bootstrap: String,
    /// A group that has committed nothing yet; several handlers add their numbers.
    pub group: String,
    /// Changes to the client's options and to settings, by their names.
    pub tuning: Vec<(String, String)>,
}
