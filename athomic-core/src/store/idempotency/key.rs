//! The name of a message in an idempotency store.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use twox_hash::XxHash3_64;

use crate::hex::hex;

/// The longest text that is kept as it is, in bytes.
const LONGEST: usize = 128;
/// Over how many parts of a store keys are spread.
const BUCKETS: u64 = 256;

/// The name of a message in an idempotency store. Cheap to clone.
///
/// A text of up to 128 bytes is kept as it is, a longer one as its SHA-256: senders choose these texts, and
/// nobody can find two with one hash. A text never equals the hash of another.
///
/// ```
/// use athomic_core::store::idempotency::IdempotencyKey;
///
/// assert_eq!(IdempotencyKey::new("order-17").as_str(), "=order-17");
/// assert_eq!(IdempotencyKey::new(&"x".repeat(1_000_000)).as_str().len(), 65);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// Make the key of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.len() <= LONGEST {
            return Self(format!("={text}").into());
        }
        Self(format!("#{}", hex(&Sha256::digest(text.as_bytes()))).into())
    }

    /// Return the key as stores write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Return the part of a store that it belongs to: what a cluster keeps together.
    #[must_use]
    pub fn bucket(&self) -> u16 {
        u16::try_from(XxHash3_64::oneshot(self.0.as_bytes()) % BUCKETS).expect("it is below the modulus")
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_be_made_to_look_like_the_hash_of_another() {
        let long = IdempotencyKey::new(&"x".repeat(129));
        assert_ne!(IdempotencyKey::new(long.as_str()), long);
        assert_ne!(IdempotencyKey::new(&long.as_str()[1..]), long);
    }

    #[test]
    fn long_texts_are_told_apart() {
        let (mut one, mut other) = ("x".repeat(1 << 20), "x".repeat(1 << 20));
        one.push('a');
        other.push('b');
        assert_ne!(IdempotencyKey::new(&one), IdempotencyKey::new(&other));
        assert!(IdempotencyKey::new(&one).as_str().len() < 100);
    }

    #[test]
    fn the_longest_text_that_is_kept_is_kept() {
        let text = "x".repeat(LONGEST);
        assert!(IdempotencyKey::new(&text).as_str().ends_with(&text));
    }
}
