//! Stores by name: how `provider.backend = "redis"` in the settings finds its crate.

use std::sync::Arc;

use super::StoreError;
use super::ordering::{DynOrderingStore, OrderingScope};
use crate::settings::Secret;

/// Makes the ordering store of one handler. Opens no connection: that is
/// [`open`](super::ordering::OrderingStore::open)'s.
pub type ConnectOrdering =
    fn(&KeyValueSettings, OrderingScope) -> Result<Arc<dyn DynOrderingStore>, StoreError>;

/// An ordering store that the settings can name. A crate of stores submits one with `inventory`.
#[derive(Debug)]
pub struct OrderingBackend {
    /// The name as `database.kvstore.NAME.provider.backend` has it.
    pub name: &'static str,
    /// Makes the store.
    pub connect: ConnectOrdering,
}

inventory::collect!(OrderingBackend);

/// Find a backend that is linked into this program.
#[must_use]
pub fn ordering_backend(name: &str) -> Option<&'static OrderingBackend> {
    inventory::iter::<OrderingBackend>().find(|backend| backend.name == name)
}

/// A named store: `database.kvstore.NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValueSettings {
    /// `NAME`.
    pub name: String,
    /// What its keys have in common, to tell applications apart that share a server.
    pub namespace: String,
    /// Which [`OrderingBackend`].
    pub backend: String,
    /// Where it is. Secret as a whole, since it may hold a password.
    pub uri: Secret,
}

impl KeyValueSettings {
    /// Return the name with the part of the URI that may be shown: scheme, hosts and ports.
    ///
    /// ```
    /// use athomic_core::store::KeyValueSettings;
    ///
    /// let settings = KeyValueSettings {
    ///     name: "ordering".into(),
    ///     namespace: "shop".into(),
    ///     backend: "redis".into(),
    ///     uri: "rediss://user:secret@cache:6379/0?sentinelPassword=secret".into(),
    /// };
    /// assert_eq!(settings.display_name(), "ordering (rediss://cache:6379)");
    /// ```
    #[must_use]
    pub fn display_name(&self) -> String {
        let uri = self.uri.expose();
        // Anything before the last `@` may be a password, even one that should have been escaped.
        let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
        let hosts = rest.rsplit('@').next().unwrap_or_default();
        let hosts = hosts.split(['/', '?', '#']).next().unwrap_or_default();
        match (scheme, hosts) {
            ("", _) | (_, "") => self.name.clone(),
            _ => format!("{} ({scheme}://{hosts})", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_uri_is_shown() {
        for uri in [
            "redis://:canary@cache:6379/0",
            "redis://user:can/ary@cache:6379",
            "redis://user:can@ary@cache:6379",
            "redis-sentinel://u:canary@cache:6379?sentinelPassword=canary",
            "canary",
            "canary@cache",
        ] {
            let settings = KeyValueSettings {
                name: "ordering".into(),
                namespace: String::new(),
                backend: "redis".into(),
                uri: uri.into(),
            };
            let shown = format!("{} {settings:?}", settings.display_name());
            assert!(!shown.contains("ary"), "{shown}");
        }
    }
}
