//! What consumes the dead-letter topics where the strategy is `republish_to_parking_lot`.

use crate::handler::MessageContext;
use crate::handler::register::{HandlerDefinition, subscribe};
use crate::outcome::Outcome;
use crate::payload::{DecodeError, Payload};

/// Moves what comes to the dead-letter topics on to the parking lot, bytes and headers as they are.
///
/// It is a consumer like any other, made for an application whose `dlq.strategy` is
/// `republish_to_parking_lot`: in the group [`GROUP_ID`](Self::GROUP_ID), which all applications share
/// that share the topics. It gives every message up, and what is given up in a dead-letter topic goes to
/// the parking lot; so an offset moves only when the parking lot has acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterProcessor;

impl DeadLetterProcessor {
    /// Its handler id, in logs and probes.
    pub const HANDLER_ID: &'static str = "athomic::dead_letter_processor";
    /// Its consumer group.
    pub const GROUP_ID: &'static str = "athomic-dead-letter-processor";

    /// Describe its consumer over a connection; at least one topic.
    pub(crate) fn definition(
        topics: impl IntoIterator<Item = String>,
        connection: &str,
    ) -> HandlerDefinition {
        let processor = subscribe("")
            .handler_id(Self::HANDLER_ID)
            .group_id(Self::GROUP_ID);
        processor
            .connection_name(connection)
            .options(|options| options.topics = topics.into_iter().collect())
            .handler(|_: Anything| async { Outcome::dead_letter("moved on to the parking lot") })
    }
}

/// A payload that nobody looks at.
struct Anything;

impl Payload for Anything {
    type Target = Self;

    fn decode(_: &MessageContext<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}
