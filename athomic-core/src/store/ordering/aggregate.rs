//! What names things in an ordering store.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use twox_hash::{XxHash3_64, XxHash3_128};

/// The longest key that is kept as it is; longer ones are kept as their digest.
const LONGEST_KEY: usize = 512;

/// An aggregate: its key, and the bucket in which the store keeps it.
///
/// ```
/// use athomic_core::store::ordering::Aggregate;
///
/// let order = Aggregate::new("order-17", 64);
/// assert_eq!(order.key(), "order-17");
/// assert!(order.bucket() < 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aggregate {
    bucket: u16,
    key: Arc<str>,
}

impl Aggregate {
    /// Name an aggregate of a scope with so many buckets; the same in all versions of the program.
    ///
    /// A key of more than 512 bytes is replaced by its digest.
    ///
    /// # Panics
    /// If there are no buckets.
    #[must_use]
    pub fn new(key: &str, buckets: u16) -> Self {
        let hash = Self::hash(key);
        Self {
            bucket: Self::bucket_of(hash, buckets),
            key: Self::shortened(key).map_or_else(|| key.into(), Into::into),
        }
    }

    /// Return what stands for a key that is too long to be kept.
    pub(crate) fn shortened(key: &str) -> Option<String> {
        (key.len() > LONGEST_KEY).then(|| format!("xxh3:{:032x}", XxHash3_128::oneshot(key.as_bytes())))
    }

    /// Return the hash by which keys are spread.
    #[must_use]
    pub fn hash(key: &str) -> u64 {
        XxHash3_64::oneshot(key.as_bytes())
    }

    /// Return the bucket of a key with this hash.
    ///
    /// # Panics
    /// If there are no buckets.
    #[must_use]
    pub fn bucket_of(hash: u64, buckets: u16) -> u16 {
        (hash % u64::from(buckets)).try_into().expect("below a u16")
    }

    /// Take what a store has written down.
    #[must_use]
    pub fn stored(key: impl Into<Arc<str>>, bucket: u16) -> Self {
        Self {
            bucket,
            key: key.into(),
        }
    }

    /// Return the bucket.
    #[must_use]
    pub const fn bucket(&self) -> u16 {
        self.bucket
    }

    /// Return the key, to keep.
    #[must_use]
    pub fn shared_key(&self) -> Arc<str> {
        Arc::clone(&self.key)
    }

    /// Return the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// What tells two payloads of one sequence apart: 128 bits of XXH3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Digest a payload; a tombstone differs from an empty one.
    #[must_use]
    pub fn of(payload: Option<&[u8]>) -> Self {
        let hash = payload.map_or(0, XxHash3_128::oneshot);
        Self(hash.to_be_bytes())
    }
}

/// One life of a process in a scope. Its leases live and end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u128);

impl SessionId {
    /// Make a new one, at random.
    #[must_use]
    pub fn random() -> Self {
        // Each `RandomState` has keys of its own, from the system's randomness.
        let half = || u128::from(RandomState::new().hash_one(std::process::id()));
        Self(half() << 64 | half())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A number that rises each time an aggregate changes hands.
///
/// As an argument of an ordered handler it lets what the handler writes to be guarded against a process
/// that was stalled, lost its lease and does not know it yet: write `WHERE fence <= :token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

impl FencingToken {
    /// Return the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
