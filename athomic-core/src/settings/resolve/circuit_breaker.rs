//! Resolve `handler_tuning.[].circuit_breaker`. What contradicts itself, or an attribute, is found with the handlers.

use super::Resolver;
use crate::circuit_breaker::MOST_CALLS;
use crate::handler::CircuitBreakerOptions;
use crate::settings::raw::{Field, RawCircuitBreaker};

impl Resolver<'_> {
    pub(super) fn circuit_breaker(&mut self, raw: &RawCircuitBreaker) -> CircuitBreakerOptions {
        let percent = self.number(&raw.failure_percent, 100);
        CircuitBreakerOptions {
            enabled: raw.enabled.as_ref().map(|written| written.value),
            failure_percent: percent.and_then(|percent| u8::try_from(percent).ok()),
            window: self.optional_some_seconds(&raw.window_seconds),
            window_calls: self.number(&raw.window_calls, MOST_CALLS),
            minimum_calls: self.number(&raw.minimum_calls, MOST_CALLS),
            open_for: self.optional_some_seconds(&raw.open_seconds),
            trials: self.number(&raw.trials, MOST_CALLS),
        }
    }

    fn number(&mut self, field: &Field<i128>, most: u32) -> Option<u32> {
        self.whole(field, 1, most.into())
    }
}
