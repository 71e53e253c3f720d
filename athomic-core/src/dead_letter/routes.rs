//! Where the dead letters of a handler go.

use std::collections::BTreeSet;

use super::{DeadLetterProcessor, TopicTemplate};
use crate::delay::REPUBLISHER;
use crate::settings::{DlqSettings, DlqStrategy};

/// What stands for `{topic}` in the names of dead-letter topics for records of delay topics.
const DELAYED: &str = "delayed";

/// The topics of a handler's dead letters, as templates.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    /// For messages that are given up the first time; none if all of them are parked.
    pub(super) topic: Option<TopicTemplate>,
    /// For those that are dead letters already, or were replayed too often.
    pub(super) parking_lot: TopicTemplate,
}

impl Routes {
    /// Say where the letters of a handler go.
    ///
    /// Messages pass through delay topics on their way to others, so that nobody looks for dead-letter topics that are
    /// named after them: what the republisher gives up is parked where letters have a topic for each topic.
    pub(crate) fn of(handler_id: &str, settings: &DlqSettings) -> Self {
        let passes_on = handler_id == REPUBLISHER;
        let only_parks =
            handler_id == DeadLetterProcessor::HANDLER_ID || (passes_on && settings.topic.names_topic());
        let parking_lot = &settings.parking_lot_topic;
        Self {
            topic: (!only_parks).then(|| settings.topic.clone()),
            parking_lot: if passes_on {
                parking_lot.for_topic(DELAYED)
            } else {
                parking_lot.clone()
            },
        }
    }

    /// List the topics of letters about messages of these topics, to a group; without the parking lots.
    pub(crate) fn letters<'a>(
        &'a self,
        topics: &'a [String],
        group: &'a str,
    ) -> impl Iterator<Item = String> + 'a {
        self.topic
            .iter()
            .flat_map(move |template| expand(template, topics, group))
    }

    /// List the topics of all letters; none if no letters are written.
    pub(crate) fn all(&self, settings: &DlqSettings, topics: &[String], group: &str) -> BTreeSet<String> {
        if !settings.enabled || settings.strategy == DlqStrategy::LoggingOnly {
            return BTreeSet::new();
        }
        let parked = expand(&self.parking_lot, topics, group);
        self.letters(topics, group).chain(parked).collect()
    }
}

fn expand<'a>(
    template: &'a TopicTemplate,
    topics: &'a [String],
    group: &'a str,
) -> impl Iterator<Item = String> + 'a {
    topics.iter().map(move |topic| template.expand(topic, group))
}
