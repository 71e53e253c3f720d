//! Which kinds of failure are tried again.

use crate::outcome::FailureStage;

/// The stages whose failures are tried again; all others go to the dead letters at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// Those that can be chosen, in the order in which they are listed.
    pub const ALL: [FailureStage; 4] = [
        FailureStage::Handler,
        FailureStage::Panic,
        FailureStage::Timeout,
        FailureStage::Decode,
    ];

    /// Choose none.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Choose one more.
    #[must_use]
    pub const fn with(self, stage: FailureStage) -> Self {
        Self(self.0 | 1 << stage as u8)
    }

    /// Say whether a stage is chosen.
    #[must_use]
    pub const fn contains(self, stage: FailureStage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    /// Return the words of those that are chosen.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let chosen = Self::ALL.into_iter().filter(|stage| self.contains(*stage));
        chosen.map(FailureStage::as_str).collect()
    }

    /// Find a stage by its word.
    #[must_use]
    pub fn named(word: &str) -> Option<FailureStage> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}

/// Errors, panics and time-outs of the handler, and decoding that says itself that it may pass.
impl Default for Stages {
    fn default() -> Self {
        Self::none()
            .with(FailureStage::Handler)
            .with(FailureStage::Panic)
            .with(FailureStage::Timeout)
            .with(FailureStage::Decode)
    }
}
