//! Ordered consumption, and the stores that it keeps its order in.

use std::collections::BTreeMap;

use crate::ordering::{OrderingOptions, OrderingPolicies};
use crate::settings::choice::choice;
use crate::settings::secret::Secret;

/// The name of the store that ordered consumers use if they name none. It is always there.
pub const DEFAULT_KVSTORE: &str = "ordering";

/// How ordered consumers behave that say nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderingSettings {
    /// The store that keeps the order. Default [`DEFAULT_KVSTORE`].
    pub kvstore: String,
    /// What happens when order is in danger.
    pub policies: OrderingPolicies,
}

impl Default for OrderingSettings {
    fn default() -> Self {
        Self {
            kvstore: DEFAULT_KVSTORE.to_owned(),
            policies: OrderingPolicies::default(),
        }
    }
}

/// Changes to one handler's order; what is none stays as the attribute says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderingTuning {
    /// The store that keeps the order.
    pub kvstore: Option<String>,
    /// What happens when order is in danger.
    pub policies: OrderingOptions,
}

impl OrderingTuning {
    /// Say whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A named store: `database.kvstore.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvStoreSettings {
    /// The name.
    pub name: String,
    /// Whether it may be used. Default `true`.
    pub enabled: bool,
    /// What its keys begin with, to tell applications apart that share a server. Default `athomic`.
    pub namespace: String,
    /// The kind of store. Default [`StoreBackend::Memory`].
    pub backend: StoreBackend,
    /// Where it is; secret as a whole, since it may hold a password. Always there with
    /// [`StoreBackend::Redis`] where it is enabled. Not fetched, and none, for the embedded store.
    pub uri: Option<Secret>,
}

impl KvStoreSettings {
    /// Name an embedded store.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            enabled: true,
            namespace: "athomic".to_owned(),
            backend: StoreBackend::Memory,
            uri: None,
        }
    }
}

/// The stores of a program that names none.
pub(in crate::settings) fn default_kvstores() -> BTreeMap<String, KvStoreSettings> {
    BTreeMap::from([(DEFAULT_KVSTORE.to_owned(), KvStoreSettings::new(DEFAULT_KVSTORE))])
}

choice! {
    /// The kind of a store.
    pub enum StoreBackend {
        /// The embedded store, in the process.
        Memory = "memory",
        /// Redis, or what speaks its protocol; needs the feature `redis`.
        Redis = "redis",
    }
    not built: []
}
