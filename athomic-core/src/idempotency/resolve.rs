//! What all that is said about a handler's idempotency comes to.
//!
//! Precedence: `handler_tuning`, then the attribute (or the registration by hand), then
//! `resilience.idempotency`, then the defaults; key by key. `resilience.idempotency.enabled = false`
//! switches it off for all.

use std::time::Duration;

use super::IdempotencyPolicy;
use crate::handler::register::HandlerDefinition;
use crate::retry::RetryPolicy;
use crate::settings::{Backend, ConsumerSettings, HandlerTuning, Settings, StoreBackend};

/// Shorter locks would end while one answer of the store is waited for.
pub(crate) const SHORTEST_LOCK: Duration = Duration::from_secs(1);

/// Put together what is said about a handler; nothing if its messages are not guarded.
pub(crate) fn resolve(
    definition: &HandlerDefinition,
    tuning: Option<&HandlerTuning>,
    settings: &Settings,
) -> Option<IdempotencyPolicy> {
    let options = definition.options.idempotency.unwrap_or_default();
    let tuning = tuning.map(|tuning| &tuning.idempotency);
    let global = &settings.idempotency;
    let is_asked_for = definition.options.idempotency.is_some()
        || definition.options.has_idempotency_key_resolver
        || global.all_handlers;
    let enabled = tuning.and_then(|tuning| tuning.enabled).or(options.enabled);
    let enabled = global.enabled && enabled.unwrap_or(is_asked_for);
    enabled.then(|| IdempotencyPolicy {
        ttl: tuning
            .and_then(|tuning| tuning.ttl)
            .or(options.ttl)
            .unwrap_or(global.policy.ttl),
        lock_timeout: tuning
            .and_then(|tuning| tuning.lock_timeout)
            .or(options.lock_timeout)
            .unwrap_or(global.policy.lock_timeout),
    })
}

/// Return what cannot be, with its remedy.
pub(crate) fn fault(policy: &IdempotencyPolicy) -> Option<(String, &'static str)> {
    if policy.lock_timeout < SHORTEST_LOCK {
        return Some((
            format!(
                "the `lock_timeout` of its idempotency is {:?}: one slow answer of the store would end it",
                policy.lock_timeout
            ),
            "set it to 1 s or more, 10 s is usual",
        ));
    }
    (policy.ttl < policy.lock_timeout).then(|| {
        let problem = format!(
            "the `ttl` of its idempotency ({:?}) is shorter than its `lock_timeout` ({:?})",
            policy.ttl, policy.lock_timeout
        );
        (
            problem,
            "set `ttl` to how long messages may come again, such as `\"24h\"`",
        )
    })
}

/// Return what is legal and seldom meant, for the log at the start.
pub(crate) fn caveats(
    policy: &IdempotencyPolicy,
    settings: &Settings,
    consumer: &ConsumerSettings,
) -> Vec<String> {
    let mut caveats = Vec::new();
    let horizon = horizon(settings, consumer);
    if policy.ttl < horizon {
        caveats.push(format!(
            "handled messages are remembered for {:?}, and may come again after {horizon:?} (all retries of a message before them in \
             their partition, and the time until its consumer is given up): they would be handled twice; raise `ttl` \
             (`resilience.idempotency.default_ttl_seconds`)",
            policy.ttl
        ));
    }
    let is_embedded = settings.idempotency.store.backend == StoreBackend::Memory;
    if is_embedded && settings.messaging.backend == Backend::Kafka {
        caveats.push(
            "the embedded store remembers handled messages until the process ends, and other instances know nothing of it; \
             set `resilience.idempotency.kvstore.provider.backend = \"redis\"`"
                .to_owned(),
        );
    }
    caveats
}

/// How long after a message was handled it may come again without anybody sending it again.
///
/// It waits for the commit of those before it, each of which may be tried until its attempts are over; then
/// its consumer may die, and the group takes some time to notice. A replay by hand is beyond that.
fn horizon(settings: &Settings, consumer: &ConsumerSettings) -> Duration {
    let retry = RetryPolicy::from(&settings.messaging.dlq);
    let mut backoff = retry.backoff;
    backoff.jitter = false;
    // The waits are the longest ones from some attempt on.
    let counted = retry.max_attempts.saturating_sub(1).min(1000);
    let waits: Duration = (1..=counted).map(|attempt| backoff.delay(attempt)).sum();
    waits + consumer.max_poll_interval.max(consumer.session_timeout) + consumer.commit_interval
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ttl: u64, settings: &str) -> Vec<String> {
        let none: [(&str, &str); 0] = [];
        let loader = Settings::loader().text("test.toml", settings).environment(none);
        let settings = loader.load().expect("the settings are valid").settings;
        let policy = IdempotencyPolicy {
            ttl: Duration::from_secs(ttl),
            ..IdempotencyPolicy::default()
        };
        caveats(&policy, &settings, &ConsumerSettings::default())
    }

    #[test]
    fn a_memory_shorter_than_messages_may_come_again_is_warned_of() {
        // Two waits of 1 s and 2 s, 300 s until the consumer is given up, 1 s until a commit.
        assert_eq!(told(304, ""), [] as [String; 0]);
        let [told] = &told(303, "")[..] else {
            panic!("one caveat")
        };
        assert!(told.contains("303s") && told.contains("304s"), "{told}");
    }

    #[test]
    fn all_retries_count() {
        let retries = "[integration.messaging.dlq]\nmax_attempts = 100\nretry.min_delay_seconds = 60\nretry.max_delay_seconds = 60";
        assert_eq!(told(99 * 60 + 301, retries).len(), 0);
        assert_eq!(told(99 * 60 + 300, retries).len(), 1);
    }

    #[test]
    fn a_memory_that_ends_with_the_process_is_warned_of_where_messages_do_not() {
        let kafka = "[integration.messaging.provider]\nbackend = 'kafka'";
        let [told] = &told(86_400, kafka)[..] else {
            panic!("one caveat")
        };
        assert!(told.contains("backend = \"redis\""), "{told}");
    }
}
