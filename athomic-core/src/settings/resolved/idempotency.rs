//! How handled messages are remembered.

use std::time::Duration;

use super::{KvStoreSettings, StoreBackend};
use crate::idempotency::IdempotencyPolicy;

/// How handled messages are remembered: section `resilience.idempotency`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdempotencySettings {
    /// Whether handlers may be idempotent at all. Default `true`.
    pub enabled: bool,
    /// Whether those are that say nothing about it. Default `false`.
    pub all_handlers: bool,
    /// What holds for handlers that say nothing else. Default 24 h and 10 s.
    pub policy: IdempotencyPolicy,
    /// Where it is remembered. Its name is `resilience.idempotency`, its namespace by default `idempotency`.
    pub store: KvStoreSettings,
}

impl Default for IdempotencySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            all_handlers: false,
            policy: IdempotencyPolicy::default(),
            store: KvStoreSettings {
                name: "resilience.idempotency".to_owned(),
                enabled: true,
                namespace: "idempotency".to_owned(),
                backend: StoreBackend::Memory,
                uri: None,
            },
        }
    }
}

/// Changes to one handler's idempotency; what is none stays as the attribute says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdempotencyTuning {
    /// Whether its messages are handled once.
    pub enabled: Option<bool>,
    /// How long a handled message is remembered.
    pub ttl: Option<Duration>,
    /// How long a message that is being handled is locked against others.
    pub lock_timeout: Option<Duration>,
}
