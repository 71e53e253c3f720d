//! The handlers of this process: gathered by `inventory` and by hand, filtered, sorted, checked.

use std::collections::BTreeMap;

use super::register::HandlerDefinition;
use super::registration::HandlerRegistration;

/// The handlers that a process runs, sorted by id, since link order means nothing.
#[derive(Debug, Default)]
pub struct Handlers {
    definitions: Vec<HandlerDefinition>,
}

/// Two handlers that cannot live in one process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerConflict {
    /// Two handlers have the same id.
    #[error("two handlers have the id `{id}`: {first} and {second}; give one of them another `handler_id`")]
    SameId {
        /// The id.
        id: String,
        /// Where one stands.
        first: String,
        /// Where the other stands.
        second: String,
    },
    /// Two handlers share the messages of a topic, so that each would see only some of them.
    #[error(
        "handlers `{first}` and `{second}` both consume topic `{topic}` in group `{group}` over connection `{connection}`, so each would miss messages; give one of them another `group_id`"
    )]
    SameTopicAndGroup {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The connection.
        connection: String,
        /// One handler, with its place.
        first: String,
        /// The other, with its place.
        second: String,
    },
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
        let conflict = |pair: &[HandlerDefinition]| HandlerConflict::SameId {
            id: pair[0].handler_id.clone(),
            first: pair[0].location.to_string(),
            second: pair[1].location.to_string(),
        };
        self.definitions.windows(2).filter(same).map(conflict).collect()
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
                if let Some(first) = seen.get(&key) {
                    conflicts.push(HandlerConflict::SameTopicAndGroup {
                        topic: topic.clone(),
                        group: group.clone(),
                        connection: key.0,
                        first: first.to_string(),
                        second: definition.to_string(),
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
