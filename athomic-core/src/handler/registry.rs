//! The handlers of this process: gathered by `inventory` and by hand, filtered, sorted, checked.

use std::collections::BTreeMap;

use super::register::HandlerDefinition;
use super::registration::{HandlerRegistration, Priorities};

/// The handlers that a process runs, sorted by id, since link order means nothing.
#[derive(Debug, Default)]
pub struct Handlers {
    definitions: Vec<HandlerDefinition>,
}

/// Two handlers that cannot live in one process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("handlers {first} and {second}: {problem}; {remedy}")]
#[non_exhaustive]
pub struct HandlerConflict {
    /// One handler, with its place.
    pub first: String,
    /// The other, with its place.
    pub second: String,
    /// What they share.
    pub problem: String,
    /// What to change.
    pub remedy: &'static str,
}

impl HandlerConflict {
    /// Return the handler to name, the problem with the other's place in it, and the remedy.
    pub(crate) fn into_parts(self) -> (String, String, String) {
        (
            self.first,
            format!("{} as handler `{}`", self.problem, self.second),
            self.remedy.to_owned(),
        )
    }
}

impl Handlers {
    /// Gather all handlers that carry an attribute and are linked into this program.
    #[must_use]
    pub fn discover() -> Self {
        let mut handlers = Self::default();
        for registration in inventory::iter::<HandlerRegistration>() {
            handlers.add(registration.into());
        }
        handlers
    }

    /// Add one by hand.
    pub fn add(&mut self, definition: HandlerDefinition) {
        let place = self
            .definitions
            .partition_point(|other| other.sort_key() <= definition.sort_key());
        self.definitions.insert(place, definition);
    }

    /// Keep those that a predicate on their id holds for.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.definitions.retain(|definition| keep(&definition.handler_id));
    }

    /// Iterate in the order of their ids.
    pub fn iter(&self) -> std::slice::Iter<'_, HandlerDefinition> {
        self.definitions.iter()
    }

    /// Return how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.definitions.len()
    }

    /// Say whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// Return all pairs with the same id.
    #[must_use]
    pub fn duplicate_ids(&self) -> Vec<HandlerConflict> {
        let same = |pair: &&[HandlerDefinition]| pair[0].handler_id == pair[1].handler_id;
        let conflict = |pair: &[HandlerDefinition]| HandlerConflict {
            first: pair[0].to_string(),
            second: pair[1].to_string(),
            problem: "has the same id".to_owned(),
            remedy: "give one of them another `handler_id`",
        };
        self.definitions.windows(2).filter(same).map(conflict).collect()
    }

    /// Let each handler consume the topics of its priority in the place of those that it names: `NAME.high`,
    /// `NAME` or `NAME.low`, or all three. `tuned` says what the settings give a handler, if they do.
    pub(crate) fn choose_priority_topics(&mut self, tuned: impl Fn(&str) -> Option<Priorities>) {
        for definition in &mut self.definitions {
            let options = &mut definition.options;
            options.priority = tuned(&definition.handler_id).unwrap_or(options.priority);
            let named = options.topics.iter();
            options.topics = named.flat_map(|name| options.priority.topics(name)).collect();
        }
    }

    /// Return all pairs that share a topic, a group and a connection; `group_of` says which group a
    /// handler is in after the settings were asked.
    #[must_use]
    pub fn shared_topics(
        &self,
        group_of: impl Fn(&HandlerDefinition) -> Option<String>,
    ) -> Vec<HandlerConflict> {
        let mut seen: BTreeMap<(String, String, String), &HandlerDefinition> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for definition in &self.definitions {
            let Some(group) = group_of(definition) else {
                continue;
            };
            for topic in &definition.options.topics {
                let key = (definition.connection().to_owned(), group.clone(), topic.clone());
                // A topic that stands twice in one list is another fault, told by another check.
                let other = seen.get(&key).filter(|first| !std::ptr::eq(**first, definition));
                if let Some(first) = other {
                    conflicts.push(HandlerConflict {
                        first: first.to_string(),
                        second: definition.to_string(),
                        problem: format!("consumes topic `{topic}` in the same group `{group}`"),
                        remedy: "each would miss messages of the other: give one of them another `group_id`",
                    });
                } else {
                    seen.insert(key, definition);
                }
            }
        }
        conflicts
    }
}

impl<'a> IntoIterator for &'a Handlers {
    type Item = &'a HandlerDefinition;
    type IntoIter = std::slice::Iter<'a, HandlerDefinition>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
