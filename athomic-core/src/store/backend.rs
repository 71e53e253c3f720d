//! Stores by name: how `provider.backend = "redis"` in the settings finds its crate.

use std::fmt;
use std::sync::Arc;

use super::delay::DynDelayStore;
use super::idempotency::DynIdempotencyStore;
use super::key_value::DynKeyValueStore;
use super::ordering::DynOrderingStore;
use super::space::id_of;
use super::{KeySpace, StoreError};
use crate::ordering::OrderingPolicies;
use crate::settings::Secret;

/// Makes the ordering store of one handler. Opens no connection: that is
/// [`open`](super::ordering::OrderingStore::open)'s, or the first call's.
pub type ConnectOrdering = fn(&KeyValueSettings, Scope) -> Result<Arc<dyn DynOrderingStore>, StoreError>;

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

/// Makes what the idempotency stores of an application share. Opens no connection, likewise.
pub type ConnectIdempotency = fn(&KeyValueSettings) -> Result<IdempotencyStores, StoreError>;

/// The idempotency stores of an application, one for each handler, over one connection. Clones are the same.
#[derive(Clone)]
pub struct IdempotencyStores(Arc<MakeIdempotency>);

type MakeIdempotency = dyn Fn(&KeySpace) -> Arc<dyn DynIdempotencyStore> + Send + Sync;

impl IdempotencyStores {
    /// Take what makes the store of a space.
    pub fn new(make: impl Fn(&KeySpace) -> Arc<dyn DynIdempotencyStore> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// Make the store of a space.
    #[must_use]
    pub fn of(&self, space: &KeySpace) -> Arc<dyn DynIdempotencyStore> {
        (self.0)(space)
    }
}

impl fmt::Debug for IdempotencyStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyStores").finish_non_exhaustive()
    }
}

/// An idempotency store that the settings can name, submitted likewise.
#[derive(Debug)]
pub struct IdempotencyBackend {
    /// The name as `resilience.idempotency.kvstore.provider.backend` has it.
    pub name: &'static str,
    /// Makes the stores.
    pub connect: ConnectIdempotency,
}

inventory::collect!(IdempotencyBackend);

/// Find a backend that is linked into this program.
#[must_use]
pub fn idempotency_backend(name: &str) -> Option<&'static IdempotencyBackend> {
    inventory::iter::<IdempotencyBackend>().find(|backend| backend.name == name)
}

/// Makes a key-value store. Opens no connection, likewise.
pub type ConnectKeyValue = fn(&KeyValueSettings, KeySpace) -> Result<Arc<dyn DynKeyValueStore>, StoreError>;

/// A key-value store that the settings can name, submitted likewise.
#[derive(Debug)]
pub struct KeyValueBackend {
    /// The name as `database.kvstore.NAME.provider.backend` has it.
    pub name: &'static str,
    /// Makes the store.
    pub connect: ConnectKeyValue,
}

inventory::collect!(KeyValueBackend);

/// Find a backend that is linked into this program.
#[must_use]
pub fn key_value_backend(name: &str) -> Option<&'static KeyValueBackend> {
    inventory::iter::<KeyValueBackend>().find(|backend| backend.name == name)
}

/// Makes a delay store. Opens no connection, likewise.
pub type ConnectDelays = fn(&KeyValueSettings, KeySpace) -> Result<Arc<dyn DynDelayStore>, StoreError>;

/// A delay store that the settings can name, submitted likewise.
#[derive(Debug)]
pub struct DelayStoreBackend {
    /// The name as `database.kvstore.NAME.provider.backend` has it.
    pub name: &'static str,
    /// Makes the store.
    pub connect: ConnectDelays,
}

inventory::collect!(DelayStoreBackend);

/// Find a backend that is linked into this program.
#[must_use]
pub fn delay_store_backend(name: &str) -> Option<&'static DelayStoreBackend> {
    inventory::iter::<DelayStoreBackend>().find(|backend| backend.name == name)
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

/// What one ordering store serves: the messages of one handler in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Letters and digits that tell it from all others, so that no name of a group or topic can have a
    /// meaning in a store's keys.
    id: String,
    title: String,
    policies: OrderingPolicies,
}

impl Scope {
    /// Name the scope of a handler. The order of the topics means nothing.
    #[must_use]
    pub fn new(
        namespace: &str,
        group: &str,
        topics: &[&str],
        handler: &str,
        policies: OrderingPolicies,
    ) -> Self {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        Self {
            id: id_of([namespace, group, handler].iter().chain(&topics).copied()),
            title: format!("{namespace}/{group}/{}/{handler}", topics.join("+")),
            policies,
        }
    }

    /// Return the scope's name for keys.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Return the scope's name for people: namespace, group, topics and handler.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Return how the handler wants its messages ordered.
    #[must_use]
    pub fn policies(&self) -> &OrderingPolicies {
        &self.policies
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(group: &str, topics: &[&str], handler: &str) -> Scope {
        Scope::new("shop", group, topics, handler, OrderingPolicies::default())
    }

    #[test]
    fn scopes_are_told_apart_by_each_of_their_names() {
        let one = scope("billing", &["orders", "refunds"], "pay");
        assert_eq!(one, scope("billing", &["refunds", "orders"], "pay"));
        let others = [
            scope("billings", &["orders", "refunds"], "pay"),
            scope("billing", &["orders"], "pay"),
            scope("billing", &["ordersrefunds"], "pay"),
            scope("billing", &["orders", "refunds"], "payer"),
        ];
        assert!(others.iter().all(|other| other.id() != one.id()));
        assert!(one.id().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

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
