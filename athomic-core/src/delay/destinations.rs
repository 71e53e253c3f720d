//! Where a delayed message may go.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The topics that delayed messages may be published to: an allow-list, if the settings have one, and never
/// a delay topic or one of the broker's own.
///
/// Looked at twice: by the publisher, which tells the caller, and by the republisher, since anybody who may
/// write to a delay topic could otherwise have it write wherever its user may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destinations {
    /// Names, or beginnings of names followed by `*`. Empty allows all.
    allowed: Vec<String>,
    delay_topics: BTreeSet<Arc<str>>,
}

/// A delayed message may not go to a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenDestination {
    /// It is a delay topic.
    #[error("`{topic}` is a delay topic, where messages wait for their own destination")]
    DelayTopic {
        /// The topic.
        topic: String,
    },
    /// It is one of the broker's own topics.
    #[error("`{topic}` is one of the broker's own topics")]
    Internal {
        /// The topic.
        topic: String,
    },
    /// It is not in the allow-list.
    #[error("`{topic}` is not in `integration.messaging.republisher.destinations` ({})", allowed.join(", "))]
    NotAllowed {
        /// The topic.
        topic: String,
        /// The allow-list.
        allowed: Vec<String>,
    },
}

impl Destinations {
    /// Allow topics by name, or by the beginning of a name followed by `*`; all, if the list is empty. Never the
    /// delay topics.
    #[must_use]
    pub fn new<T: Into<Arc<str>>>(allowed: &[String], delay_topics: impl IntoIterator<Item = T>) -> Self {
        Self {
            allowed: allowed.to_vec(),
            delay_topics: delay_topics.into_iter().map(Into::into).collect(),
        }
    }

    /// Check a destination.
    ///
    /// # Errors
    /// See [`ForbiddenDestination`].
    pub fn check(&self, topic: &str) -> Result<(), ForbiddenDestination> {
        let named = topic.to_owned();
        if topic.starts_with("__") {
            return Err(ForbiddenDestination::Internal { topic: named });
        }
        if self.delay_topics.contains(topic) {
            return Err(ForbiddenDestination::DelayTopic { topic: named });
        }
        let fits = |allowed: &String| match allowed.strip_suffix('*') {
            Some(beginning) => topic.starts_with(beginning),
            None => allowed == topic,
        };
        if self.allowed.is_empty() || self.allowed.iter().any(fits) {
            return Ok(());
        }
        Err(ForbiddenDestination::NotAllowed {
            topic: named,
            allowed: self.allowed.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(allowed: &[&str]) -> Destinations {
        let allowed: Vec<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        Destinations::new(&allowed, ["delay-1m"])
    }

    #[test]
    fn a_list_allows_names_and_beginnings_of_names() {
        let some = destinations(&["orders", "mail.*"]);
        for topic in ["orders", "mail.", "mail.v1"] {
            assert_eq!(some.check(topic), Ok(()), "{topic}");
        }
        for topic in ["orders.v1", "mail", "ord"] {
            let refused = some.check(topic).unwrap_err();
            assert!(
                matches!(refused, ForbiddenDestination::NotAllowed { .. }),
                "{topic}"
            );
        }
    }

    #[test]
    fn delay_topics_and_internal_topics_are_never_allowed() {
        for list in [&[][..], &["*"], &["delay-1m", "__*"]] {
            let list = destinations(list);
            let check = |topic| list.check(topic).unwrap_err();
            assert!(matches!(
                check("delay-1m"),
                ForbiddenDestination::DelayTopic { .. }
            ));
            assert!(matches!(
                check("__consumer_offsets"),
                ForbiddenDestination::Internal { .. }
            ));
        }
        assert_eq!(destinations(&[]).check("anything"), Ok(()));
    }
}
