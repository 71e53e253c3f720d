//! What a program is told from outside: files, environment, code.
//!
//! ```
//! use athomic_core::settings::{Backend, Settings};
//!
//! # fn main() -> Result<(), athomic_core::settings::SettingsError> {
//! let loaded = Settings::loader()
//!     .text("settings.toml", r#"
//!         [integration.messaging.provider]
//!         backend = "memory"
//!
//!         [production.integration.messaging.provider]
//!         backend = "kafka"
//!     "#)
//!     .profile("production")
//!     .load()?;
//! assert_eq!(loaded.settings.messaging.backend, Backend::Kafka);
//! # Ok(())
//! # }
//! ```
//!
//! # How it is read
//!
//! 1. Later wins: built-in defaults < `[default]` and bare tables < `[PROFILE]` < `PROFILE.toml` beside the
//!    file < `.secrets.toml` beside it < environment < code. The profile comes from `ATHOMIC_ENV`; without
//!    one only `[default]` and bare tables count. The file comes from `ATHOMIC_SETTINGS_FILE`, else it is
//!    `settings.toml` in the working directory, else there is none: an empty project runs.
//! 2. A top-level table with the name of a section (`app`, `integration`, `lifecycle`, ...) is that section,
//!    any other is a profile. A key both in `[x]` and in `[default.x]` of one file is a fault.
//! 3. Tables merge; scalars and lists replace.
//! 4. Environment: `ATHOMIC_` and the path, `__` between names, in any case. The value is read as TOML, and
//!    as text if that fails or the key takes text; lists of texts may be given as `a,b`. Items of lists go
//!    by number: `ATHOMIC_INTEGRATION__MESSAGING__HANDLER_TUNING__0__CONCURRENCY`. In names of librdkafka's
//!    options `_` stands for the dot.
//! 5. An unknown key is a warning without a profile and a fault with one. A wrong type or value is a fault.
//!    A part of the schema that is not built yet is refused by name, never ignored. All faults come in one
//!    report, each with its key, file, line and column. Profiles that are not active are not looked into.
//! 6. A secret is text, `{ env = "NAME" }` or `{ file = "PATH" }` (relative to the working directory; line
//!    ends at the end are dropped), fetched on loading if the backend needs it, and never shown.
//! 7. `connections.NAME.consumer` and `.producer` inherit what they lack from `messaging.consumer` and
//!    `.producer`; `security` is inherited as a whole, by connections that name no servers of their own.
//! 8. What an ordered handler does comes, key by key, from `handler_tuning`, then its attribute, then
//!    `messaging.ordering`. A key that would be ignored beside another one is a fault.
//!
//! # Layout
//!
//! `schema` is the table of all keys. `load` finds the documents, `tree` parses and merges, `check` holds a
//! layer against the schema, `layers` lays one over the other, and `refuse` finds what is not built yet.
//! `raw` mirrors the result, `resolve` turns it into what `resolved` defines, and `explain` says where
//! values came from. [`REFERENCE`] shows every key with its default.

mod check;
pub(crate) mod choice;
mod environment;
mod error;
mod explain;
mod layers;
mod load;
mod raw;
mod refuse;
mod resolve;
mod resolved;
mod schema;
mod secret;
mod tree;

#[cfg(test)]
mod tests;

pub use error::{Fault, Origin, Problem, SettingsError};
pub use explain::{Difference, Explanation};
pub use load::{Loaded, Loader, SettingValue};
pub use resolved::{
    AppSettings, AutoCreate, Backend, BackoffKind, CollectorStore, ConnectionSettings, ConsumerSettings,
    ContextField, ContextSettings, CryptoAlgorithm, CryptoSettings, DEFAULT_CONNECTION, DEFAULT_KVSTORE,
    DEFAULT_REPUBLISHER_GROUP, DelayBackend, DlqFormat, DlqHeaderSet, DlqIndexSettings, DlqSettings,
    DlqStrategy, GroupProtocol, HandlerTuning, IdempotencySettings, IdempotencyTuning, IsolationLevel,
    KeySettings, KvStoreSettings, LifecycleSettings, LineageCollectorSettings, LineageGranularity,
    LineageServerSettings, LineageSettings, LineageStoreKind, MessagingSettings, MetricsExporter,
    MetricsSettings, ObservabilitySettings, OffsetReset, OrderingSettings, OrderingTuning, OtlpProtocol,
    PayloadSettings, PipelineSettings, ProcessSpanParent, ProducerClient, ProducerSettings,
    REPUBLISHER_CONNECTION, RepublisherSettings, RetryMode, RetryOrder, RetrySettings, SaslMechanism,
    SchemaRegistrySettings, SecurityProtocol, SecuritySettings, Settings, StepSettings, StorageBackend,
    StorageSettings, StoreBackend, TopicsSettings, WireCompression,
};
pub use schema::{KeyDoc, keys};
pub use secret::Secret;

/// A settings file with every key, its default and a sentence about it.
pub const REFERENCE: &str = include_str!("reference.toml");

impl Settings {
    /// Load the settings from where the environment says they are; see the [module](self).
    ///
    /// # Errors
    ///
    /// As [`Loader::load`].
    pub fn load() -> Result<Loaded, SettingsError> {
        Self::loader().load()
    }

    /// Begin to load the settings, with a say in where they come from.
    pub fn loader() -> Loader {
        Loader::new()
    }
}
