//! Topics of dead letters: a name, or one made of the topic and the group of the message.

use std::fmt;

use crate::message::topic_name_fault;

const TOPIC: &str = "{topic}";
const GROUP: &str = "{group}";

/// The name of a topic in which `{topic}` and `{group}` stand for those of the message that failed.
///
/// ```
/// use athomic_core::dead_letter::TopicTemplate;
///
/// let template = TopicTemplate::new("dlq.{topic}")?;
/// assert_eq!(template.expand("orders.v1", "billing"), "dlq.orders.v1");
/// assert!(TopicTemplate::new("dlq.{name}").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate(String);

impl TopicTemplate {
    /// Take a template.
    ///
    /// # Errors
    /// It is no topic's name, whatever the message; the text says why.
    pub fn new(template: impl Into<String>) -> Result<Self, String> {
        let template = template.into();
        let sample = template.replace(TOPIC, "t").replace(GROUP, "g");
        if sample.contains(['{', '}']) {
            return Err(format!(
                "`{template}` has braces around something else than `{TOPIC}` and `{GROUP}`"
            ));
        }
        match topic_name_fault(&sample) {
            Some(fault) => Err(format!("`{template}` as a topic's name {fault}")),
            None => Ok(Self(template)),
        }
    }

    /// Say whether the topic of the message is part of the name.
    pub(super) fn names_topic(&self) -> bool {
        self.0.contains(TOPIC)
    }

    /// Let a word stand for the topic of all messages.
    pub(super) fn for_topic(&self, topic: &str) -> Self {
        Self(self.0.replace(TOPIC, topic))
    }

    /// Return the topic for messages of a topic and a group. A group's name may hold what a topic's may
    /// not; that stands as `_`.
    #[must_use]
    pub fn expand(&self, topic: &str, group: &str) -> String {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let group: String = group.chars().map(|c| if legal(c) { c } else { '_' }).collect();
        self.0.replace(TOPIC, topic).replace(GROUP, &group)
    }

    /// Say whether messages of a topic go to another one, whatever their group is.
    #[cfg(feature = "crypto")]
    pub(crate) fn takes(&self, topic: &str, letters: &str) -> bool {
        let template = self.0.replace(TOPIC, topic);
        match template.split_once(GROUP) {
            None => template == letters,
            Some((before, after)) => {
                let group = letters
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after));
                group.is_some_and(|group| !group.is_empty())
            }
        }
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_for_topic_and_group() {
        let template = TopicTemplate::new("{group}.{topic}.dlq").unwrap();
        assert_eq!(template.expand("orders", "a b/c"), "a_b_c.orders.dlq");
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for template in ["", "a b", "{topics}", "x{", ".."] {
            assert!(TopicTemplate::new(template).is_err(), "{template}");
        }
    }
}
