//! The headers by which other systems tell of dead letters, written on request beside athomic's own, for tools
//! that look for them.
//!
//! Values are those that the system's own software writes, as far as athomic has what they tell.

use super::HeaderSet;
use super::headers as names;
use super::letter::{Origin, Told};
use crate::handler::HandlerScope;
use crate::message::Headers;
use crate::outcome::{FailureContext, FailureStage};

/// What headers tell of a failure.
pub(super) struct Telling<'a> {
    pub(super) scope: &'a HandlerScope,
    pub(super) failure: &'a FailureContext,
    pub(super) origin: &'a Origin,
    pub(super) told: &'a Told,
}

impl Telling<'_> {
    /// Add the headers of a set.
    pub(super) fn add(&self, set: HeaderSet, headers: &mut Headers) {
        match set {
            HeaderSet::Kafka => self.kafka(headers),
            HeaderSet::Spring => self.spring(headers),
            HeaderSet::Connect => self.connect(headers),
            HeaderSet::Smallrye => self.smallrye(headers),
        }
    }

    fn kafka(&self, headers: &mut Headers) {
        let Self { origin, told, .. } = self;
        let mut add = |name: &str, value: String| headers.push(name, Some(value.into()));
        add(names::ERRORS_TOPIC, origin.topic.clone());
        add(names::ERRORS_PARTITION, origin.partition.to_string());
        add(names::ERRORS_OFFSET, origin.offset.to_string());
        add(names::ERRORS_GROUP, self.scope.group_id.to_string());
        add(names::ERRORS_DELIVERY_COUNT, self.failure.attempt.to_string());
        if let Some(text) = &told.text {
            add(names::ERRORS_MESSAGE, text.clone());
        }
    }

    /// Spring for Apache Kafka, with its binary numbers.
    fn spring(&self, headers: &mut Headers) {
        let Self { origin, told, .. } = self;
        let mut add =
            |name: &str, value: Vec<u8>| headers.push(format!("{}{name}", names::SPRING), Some(value.into()));
        add("original-topic", origin.topic.clone().into_bytes());
        add("original-partition", origin.partition.to_be_bytes().to_vec());
        add("original-offset", origin.offset.to_be_bytes().to_vec());
        add("original-timestamp", origin.timestamp.to_be_bytes().to_vec());
        add("original-timestamp-type", b"CreateTime".to_vec());
        let group = self.scope.group_id.to_string();
        add("original-consumer-group", group.into_bytes());
        add("exception-fqcn", told.error_type.clone().into_bytes());
        if let Some(text) = &told.text {
            add("exception-message", text.clone().into_bytes());
        }
    }

    /// Kafka Connect: the group stands for the connector and the handler for the class that failed. There
    /// are no tasks, and so no id of one.
    fn connect(&self, headers: &mut Headers) {
        let Self { origin, told, .. } = self;
        let mut add =
            |name: &str, value: String| headers.push(format!("{}{name}", names::CONNECT), Some(value.into()));
        add("topic", origin.topic.clone());
        add("partition", origin.partition.to_string());
        add("offset", origin.offset.to_string());
        add("connector.name", self.scope.group_id.to_string());
        let stage = match self.failure.stage {
            FailureStage::Decode => "VALUE_CONVERTER",
            _ => "TASK_PUT",
        };
        add("stage", stage.to_owned());
        add("class.name", self.scope.handler_id.to_string());
        add("exception.class.name", told.error_type.clone());
        if let Some(text) = &told.text {
            add("exception.message", text.clone());
        }
        if let Some(chain) = &told.chain {
            add("exception.stacktrace", chain.clone());
        }
    }

    /// `SmallRye` Reactive Messaging.
    fn smallrye(&self, headers: &mut Headers) {
        let Self { origin, told, .. } = self;
        let mut add = |name: &str, value: String| headers.push(name, Some(value.into()));
        let [reason, cause, topic, partition, offset, class] = names::SMALLRYE;
        add(topic, origin.topic.clone());
        add(partition, origin.partition.to_string());
        add(offset, origin.offset.to_string());
        add(class, told.error_type.clone());
        if let Some(text) = &told.text {
            add(reason, text.clone());
        }
        if let Some(text) = &told.cause {
            add(cause, text.clone());
        }
    }
}
