//! Retries and dead letters.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ordering::Stores;
use super::{Resolver, value_or};
use crate::dead_letter::TopicTemplate;
use crate::handler::RetryOptions;
use crate::nearest::nearest;
use crate::retry::Stages;
use crate::settings::choice::Choice;
use crate::settings::error::Problem;
use crate::settings::raw::{Field, RawDlq, RawRetry, RawRetryTuning};
use crate::settings::resolved::{DlqIndexSettings, DlqSettings, RetrySettings};

/// The most bytes and the most replays: no bound that anybody meets.
const MOST: i128 = i32::MAX as i128;

impl Resolver<'_> {
    pub(super) fn dlq(&mut self, raw: &RawDlq, retry: &RawRetry, stores: &Stores) -> DlqSettings {
        let default = DlqSettings::default();
        DlqSettings {
            enabled: value_or(&raw.enabled, default.enabled),
            max_attempts: self.count(&raw.max_attempts, default.max_attempts),
            strategy: self.choice(&raw.strategy, default.strategy),
            topic: self.template(&raw.topic, default.topic),
            parking_lot_topic: self.template(&raw.parking_lot_topic, default.parking_lot_topic),
            format: self.choice(&raw.format, default.format),
            header_sets: self.choices(&raw.header_sets, default.header_sets),
            error_max_bytes: self
                .whole(&raw.error_max_bytes, 0, MOST)
                .unwrap_or(default.error_max_bytes),
            error_redact: value_or(&raw.error_redact, default.error_redact),
            max_replays: self
                .whole(&raw.max_replays, 0, MOST)
                .unwrap_or(default.max_replays),
            index: self.dlq_index(raw, stores),
            retry: self.retry(retry),
        }
    }

    fn dlq_index(&mut self, raw: &RawDlq, stores: &Stores) -> DlqIndexSettings {
        let default = DlqIndexSettings::default();
        DlqIndexSettings {
            enabled: value_or(&raw.index_in_kv, default.enabled),
            kvstore: self
                .kvstore_name(&raw.index_kvstore, stores)
                .unwrap_or(default.kvstore),
            ttl: self.some_seconds(&raw.index_ttl_seconds, default.ttl),
            max_entries: self.count(&raw.index_max_entries, default.max_entries),
        }
    }

    pub(super) fn retry_tuning(&mut self, raw: &RawRetryTuning) -> RetryOptions {
        let attempts: Option<NonZeroU32> = self.optional_count(&raw.max_attempts);
        let retry = RetryOptions {
            max_attempts: attempts.map(NonZeroU32::get),
            mode: self.optional_choice(&raw.mode),
            order: self.optional_choice(&raw.order),
            retry_on: self.stages(&raw.retry_on),
            backoff: self.optional_choice(&raw.backoff),
            min_delay: self.optional_seconds(&raw.min_delay_seconds),
            max_delay: self.optional_seconds(&raw.max_delay_seconds),
        };
        if let (Some(least), Some(most)) = (retry.min_delay, retry.max_delay) {
            self.compare_delays(least, most, &raw.min_delay_seconds);
        }
        retry
    }

    fn retry(&mut self, raw: &RawRetry) -> RetrySettings {
        let default = RetrySettings::default();
        let retry = RetrySettings {
            mode: self.choice(&raw.mode, default.mode),
            order: self.choice(&raw.order, default.order),
            retry_on: self.stages(&raw.retry_on).unwrap_or(default.retry_on),
            backoff: self.choice(&raw.backoff, default.backoff),
            min_delay: self.seconds(&raw.min_delay_seconds, default.min_delay),
            max_delay: self.seconds(&raw.max_delay_seconds, default.max_delay),
            factor: value_or(&raw.factor, default.factor),
            jitter: value_or(&raw.jitter, default.jitter),
        };
        if let Some(written) = &raw.factor
            && !(written.value.is_finite() && written.value >= 1.0)
        {
            self.faults
                .push(written.fault(Problem::invalid("must be a number of at least 1")));
        }
        let written = if raw.min_delay_seconds.is_some() {
            &raw.min_delay_seconds
        } else {
            &raw.max_delay_seconds
        };
        self.compare_delays(retry.min_delay, retry.max_delay, written);
        retry
    }

    fn compare_delays(&mut self, least: Duration, most: Duration, written: &Field<f64>) {
        if let Some(written) = written
            && least > most
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`min_delay_seconds` ({}) must not be more than `max_delay_seconds` ({})",
                least.as_secs_f64(),
                most.as_secs_f64(),
            ))));
        }
    }

    fn template(&mut self, field: &Field<String>, default: TopicTemplate) -> TopicTemplate {
        let Some(written) = field else { return default };
        TopicTemplate::new(written.value.as_str()).unwrap_or_else(|reason| {
            self.faults.push(written.fault(Problem::invalid(reason)));
            default
        })
    }

    /// Read a list of words, each of which stands for a value.
    pub(super) fn choices<C: Choice>(&mut self, field: &Field<Vec<String>>, default: Vec<C>) -> Vec<C> {
        let Some(written) = field else { return default };
        let mut word = written.clone().map(String::new());
        let mut chosen = Vec::new();
        for value in &written.value {
            word.value.clone_from(value);
            chosen.extend(self.optional_choice::<C>(&Some(word.clone())));
        }
        chosen
    }

    fn stages(&mut self, field: &Field<Vec<String>>) -> Option<Stages> {
        let written = field.as_ref()?;
        let accepted = Stages::default().words();
        let mut stages = Stages::none();
        for word in &written.value {
            match Stages::named(word) {
                Some(stage) => stages = stages.with(stage),
                None => self.faults.push(written.fault(Problem::UnknownValue {
                    value: word.clone(),
                    accepted: accepted.clone(),
                    nearest: nearest(word, accepted.iter().copied()),
                })),
            }
        }
        Some(stages)
    }
}
