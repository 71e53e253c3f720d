//! `resilience.idempotency`, and what entries of `handler_tuning` change of it.

use std::time::Duration;

use super::*;
use crate::settings::StoreBackend;

#[test]
fn what_is_written_is_meant() {
    let text = "[resilience.idempotency]\nenabled = true\nall_handlers = true\ndefault_ttl_seconds = 60.5\n\
                default_lock_timeout_seconds = 5\nkvstore.namespace = 'shop'\n\
                [resilience.idempotency.kvstore.provider]\nbackend = 'redis'\nuri = 'redis://u:canary@cache'\n\
                [[integration.messaging.handler_tuning]]\nhandler_id = 'h'\n\
                idempotency = { enabled = false, ttl_seconds = 30, lock_timeout_seconds = 2 }";
    let settings = loaded(loader(text)).settings;
    let idempotency = &settings.idempotency;
    assert!(idempotency.enabled && idempotency.all_handlers);
    assert_eq!(idempotency.policy.ttl, Duration::from_millis(60_500));
    assert_eq!(idempotency.policy.lock_timeout, Duration::from_secs(5));
    assert_eq!(idempotency.store.namespace, "shop");
    assert_eq!(idempotency.store.backend, StoreBackend::Redis);
    let tuning = settings.messaging.handler_tuning[0].idempotency;
    assert_eq!(tuning.enabled, Some(false));
    assert_eq!(tuning.ttl, Some(Duration::from_secs(30)));
    assert_eq!(tuning.lock_timeout, Some(Duration::from_secs(2)));
    let shown = format!("{settings:?} {:?}", settings.values());
    assert!(!shown.contains("canary"), "no secret is shown");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    check_faults(
        "[resilience.idempotency]\ndefault_ttl_seconds = 0\ndefault_lock_timeout_seconds = 0.5\n\
         kvstore.provider.backend = 'redis'",
        &[
            "settings.toml:2:23: `resilience.idempotency.default_ttl_seconds`: must be more than 0 seconds",
            "settings.toml:3:32: `resilience.idempotency.default_lock_timeout_seconds`: \
             must be at least 1 second: one slow answer of the store would end the lock",
            "settings.toml:4:28: `resilience.idempotency.kvstore.provider.uri`: missing: \
             `backend = \"redis\"` needs it, such as \"redis://localhost:6379/0\"",
        ],
    );
}

#[test]
fn what_is_switched_off_needs_no_server() {
    let text = "[resilience.idempotency]\nenabled = false\nkvstore.provider.backend = 'redis'";
    assert!(!loaded(loader(text)).settings.idempotency.enabled);
}
