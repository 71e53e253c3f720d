//! `KeySpace`: what tells the keys of one user of a store from those of all others.

use std::fmt;

use twox_hash::XxHash3_64;

/// A name for keys in a store, made of several names.
///
/// ```
/// use athomic_core::store::KeySpace;
///
/// let one = KeySpace::new("shop", &["idempotency", "billing", "on_paid"]);
/// let other = KeySpace::new("shop", &["idempotency", "billing on_paid"]);
/// assert_ne!(one.id(), other.id());
/// assert_eq!(one.to_string(), "shop/idempotency/billing/on_paid");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpace {
    /// Letters and digits, so that no name of a group or handler can have a meaning in a store's keys.
    id: String,
    title: String,
}

impl KeySpace {
    /// Name a space by the store's namespace and what it is for.
    #[must_use]
    pub fn new(namespace: &str, parts: &[&str]) -> Self {
        Self {
            id: id_of([namespace].iter().chain(parts).copied()),
            title: format!("{namespace}/{}", parts.join("/")),
        }
    }

    /// Return the space's name for keys.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for KeySpace {
    /// Shows the names that it is made of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

/// Turn names into one that no other list of names has.
pub(super) fn id_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut bytes = Vec::new();
    for name in names {
        // With their lengths, so that no two lists of names are one text.
        bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    format!("{:016x}", XxHash3_64::oneshot(&bytes))
}
