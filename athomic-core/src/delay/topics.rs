//! What delay topics must be like: how they are made, and the check of those that are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Buckets;
use crate::dead_letter::Chain;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::transport::{DynTransport, TransportError};

/// By how much a delay topic keeps messages for longer than they wait, for the time that no republisher runs.
const SPARE_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const CLEANUP: &str = "cleanup.policy";
const TIMESTAMPS: &str = "message.timestamp.type";

/// Said where the check cannot be made.
const UNSEEN: &str = "cannot look at the settings of delay topics (it takes `DescribeConfigs`): \
                      see that they keep messages for longer than these wait";

/// Return the settings that a delay topic is made with.
///
/// Its records carry the broker's time, from which the wait is counted, so that the clocks of those who
/// publish do not matter.
pub(crate) fn settings_for(bucket: Duration) -> BTreeMap<String, String> {
    let retention = (bucket + SPARE_RETENTION).as_millis().to_string();
    let settings = [
        (CLEANUP, "delete".to_owned()),
        (RETENTION, retention),
        (RETENTION_BYTES, "-1".to_owned()),
        (TIMESTAMPS, "LogAppendTime".to_owned()),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Delay topics would lose what waits in them.
#[derive(Debug, thiserror::Error)]
#[error("messages would be lost in delay topics: {}", faults.join("; "))]
pub struct UnfitDelayTopics {
    /// What is wrong, each with its topic and what to set.
    pub faults: Vec<String>,
}

/// Looks before the first message is read whether the delay topics keep messages for as long as they wait.
pub(crate) struct DelayTopicCheck {
    transport: Arc<dyn DynTransport>,
    buckets: Buckets,
}

impl DelayTopicCheck {
    pub(crate) fn new(transport: Arc<dyn DynTransport>, buckets: Buckets) -> Self {
        Self { transport, buckets }
    }

    async fn settings(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>, TransportError> {
        let topics: Vec<String> = self
            .buckets
            .iter()
            .map(|bucket| bucket.topic.to_string())
            .collect();
        self.transport.admin().await?.topic_settings(&topics).await
    }
}

impl Service for DelayTopicCheck {
    fn name(&self) -> &str {
        "delay topics"
    }

    /// After the check of all topics, which makes missing ones and waits for a broker; before consumers.
    fn priority(&self) -> i32 {
        -90
    }

    async fn start(&self, _: ServiceHandle) -> Result<(), ServiceError> {
        let settings = match self.settings().await {
            Ok(settings) => settings,
            Err(error) => {
                // Not worth not to start: reading a topic takes fewer rights than looking at its settings.
                tracing::warn!(error = %Chain(&error), "{UNSEEN}");
                return Ok(());
            }
        };
        let mut faults = Vec::new();
        for bucket in self.buckets.iter() {
            let Some(settings) = settings.get(&*bucket.topic) else {
                tracing::warn!(topic = &*bucket.topic, "{UNSEEN}");
                continue;
            };
            faults.extend(fault(&bucket.topic, bucket.delay, settings));
            for caveat in caveats(bucket.delay, settings) {
                tracing::warn!(topic = &*bucket.topic, "{caveat}");
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(UnfitDelayTopics { faults }.into())
        }
    }
}

/// Return how long a topic keeps messages; `None` is for ever, or not known.
fn retention(settings: &BTreeMap<String, String>) -> Option<Duration> {
    let millis = settings.get(RETENTION)?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

fn fault(topic: &str, delay: Duration, settings: &BTreeMap<String, String>) -> Option<String> {
    if settings
        .get(CLEANUP)
        .is_some_and(|policy| policy.contains("compact"))
    {
        return Some(format!(
            "`{topic}` is compacted, which deletes all but the last message of a key; set `{CLEANUP}=delete`"
        ));
    }
    let kept = retention(settings).filter(|kept| *kept <= delay)?;
    let wanted = (delay + SPARE_RETENTION).as_millis();
    Some(format!(
        "`{topic}` deletes messages after {kept:?}, and they wait for {delay:?}; set `{RETENTION}={wanted}`"
    ))
}

/// Return what is not as it should be and loses nothing as long as all goes well.
fn caveats(delay: Duration, settings: &BTreeMap<String, String>) -> Vec<String> {
    let mut caveats = Vec::new();
    let spare = retention(settings).map(|kept| kept.saturating_sub(delay));
    if let Some(spare) = spare.filter(|spare| *spare < Duration::from_secs(24 * 3600)) {
        caveats.push(format!(
            "delayed messages are lost if no republisher runs for {spare:?}: raise `{RETENTION}`"
        ));
    }
    if settings
        .get(RETENTION_BYTES)
        .is_some_and(|bytes| !bytes.starts_with('-'))
    {
        caveats.push(format!(
            "delayed messages are lost when more of them wait than `{RETENTION_BYTES}` allows: set it to -1"
        ));
    }
    if settings
        .get(TIMESTAMPS)
        .is_some_and(|kind| kind != "LogAppendTime")
    {
        caveats.push(format!(
            "delays count from the clocks of those who publish: set `{TIMESTAMPS}=LogAppendTime` to have the broker's"
        ));
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn with(name: &str, value: &str) -> BTreeMap<String, String> {
        let mut settings = settings_for(HOUR);
        settings.insert(name.to_owned(), value.to_owned());
        settings
    }

    #[test]
    fn what_is_made_is_fit() {
        assert_eq!(fault("t", HOUR, &settings_for(HOUR)), None);
        assert_eq!(caveats(HOUR, &settings_for(HOUR)), Vec::<String>::new());
    }

    #[test]
    fn a_topic_that_deletes_or_compacts_too_early_is_refused() {
        let check = |settings: BTreeMap<String, String>, expected: &str| {
            let fault = fault("t", HOUR, &settings).unwrap();
            assert!(fault.contains(expected), "{fault}");
        };
        check(with(RETENTION, "3600000"), "set `retention.ms=608400000`");
        check(with(CLEANUP, "compact,delete"), "set `cleanup.policy=delete`");
        assert_eq!(fault("t", HOUR, &with(RETENTION, "3600001")), None);
        assert_eq!(fault("t", HOUR, &with(RETENTION, "-1")), None);
    }

    #[test]
    fn what_is_dangerous_is_said() {
        let check = |name, value, expected: &str| {
            let found = caveats(HOUR, &with(name, value));
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        };
        check(RETENTION, "7200000", "raise `retention.ms`");
        check(RETENTION_BYTES, "1000", "set it to -1");
        check(TIMESTAMPS, "CreateTime", "LogAppendTime");
    }
}
