//! Resolve idempotency: `resilience.idempotency` and `handler_tuning.[].idempotency`.

use std::time::Duration;

use super::Resolver;
use crate::idempotency::IdempotencyPolicy;
use crate::idempotency::resolve::SHORTEST_LOCK;
use crate::settings::error::Problem;
use crate::settings::raw::{Field, RawIdempotency, RawIdempotencyTuning};
use crate::settings::resolved::{IdempotencySettings, IdempotencyTuning, KvStoreSettings, StoreBackend};
use crate::settings::schema::IDEMPOTENCY_STORE;

impl Resolver<'_> {
    pub(super) fn idempotency(&mut self, raw: &RawIdempotency) -> IdempotencySettings {
        let default = IdempotencySettings::default();
        let enabled = super::value_or(&raw.keys.enabled, default.enabled);
        let backend = self.choice(&raw.provider.backend, default.store.backend);
        self.fetch_secrets = enabled && backend == StoreBackend::Redis;
        let uri = self.secret(&raw.provider.uri);
        if self.fetch_secrets {
            self.check_uri(IDEMPOTENCY_STORE, &raw.provider, uri.as_ref());
        }
        let lock_timeout = self.lock_timeout(&raw.keys.default_lock_timeout_seconds);
        IdempotencySettings {
            enabled,
            all_handlers: super::value_or(&raw.keys.all_handlers, default.all_handlers),
            policy: IdempotencyPolicy {
                ttl: self.some_seconds(&raw.keys.default_ttl_seconds, default.policy.ttl),
                lock_timeout: lock_timeout.unwrap_or(default.policy.lock_timeout),
            },
            store: KvStoreSettings {
                namespace: self.text(&raw.store.namespace).unwrap_or(default.store.namespace),
                backend,
                uri,
                ..default.store
            },
        }
    }

    pub(super) fn idempotency_tuning(&mut self, raw: &RawIdempotencyTuning) -> IdempotencyTuning {
        IdempotencyTuning {
            enabled: raw.enabled.as_ref().map(|written| written.value),
            ttl: self.optional_some_seconds(&raw.ttl_seconds),
            lock_timeout: self.lock_timeout(&raw.lock_timeout_seconds),
        }
    }

    fn lock_timeout(&mut self, field: &Field<f64>) -> Option<Duration> {
        let written = field.as_ref()?;
        let timeout = self.seconds(field, SHORTEST_LOCK);
        if timeout < SHORTEST_LOCK {
            let reason = "must be at least 1 second: one slow answer of the store would end the lock";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        Some(timeout)
    }
}
