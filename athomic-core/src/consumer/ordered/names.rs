//! Where a shard has each aggregate: found by an identity that its lane computes, so that a message costs
//! no string and no comparison.
//!
//! An identity is 128 bits of XXH3 under a seed that is drawn when the process begins, so that nobody who
//! writes keys can make two that are taken for one.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::LazyLock;

use twox_hash::XxHash3_128;

use crate::store::ordering::Aggregate;

static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("identities"));

/// Stands for an aggregate in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u128);

impl Identity {
    /// Identify an aggregate by its key, as messages have it or as stores do.
    pub(super) fn of(key: &str) -> Self {
        let of = |key: &str| Self(XxHash3_128::oneshot_with_seed(*SEED, key.as_bytes()));
        match Aggregate::shortened(key) {
            None => of(key),
            Some(short) => of(&short),
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<u128, usize, BuildHasherDefault<Folded>>);

impl Names {
    pub(super) fn get(&self, identity: Identity) -> Option<usize> {
        self.0.get(&identity.0).copied()
    }

    pub(super) fn insert(&mut self, identity: Identity, index: usize) {
        self.0.insert(identity.0, index);
    }

    pub(super) fn remove(&mut self, identity: Identity) {
        self.0.remove(&identity.0);
    }
}

/// Takes a part of what is a hash already.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("identities are u128");
    }

    fn write_u128(&mut self, identity: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "any half will do")]
        let half = identity as u64;
        self.0 = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_aggregate_as_messages_and_stores_have_it() {
        for key in ["", "order-17", &"long".repeat(200)] {
            let stored = Aggregate::new(key, 64);
            assert_eq!(Identity::of(key), Identity::of(stored.key()));
        }
        assert_ne!(Identity::of("a"), Identity::of("b"));
    }
}
