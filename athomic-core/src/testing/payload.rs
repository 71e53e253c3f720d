//! The payloads of a topic without an application around them: what benches and fuzzers feed.

use std::error::Error;
use std::sync::Arc;

use crate::context::HeadersOrchestrator;
use crate::handler::{HandlerScope, MessageContext, StateMap};
use crate::message::RawMessage;
use crate::payload::{self, DecodeError, Encode, HandlerPayloads, Payload, PayloadSteps, Payloads};
use crate::publisher::Publisher;
use crate::settings::{Settings, SettingsError};
use crate::transport::OutgoingMessage;
use crate::transport::memory::{MemoryBroker, MemoryConsumerConfig};

/// Writes and reads payloads as the settings say, by the code that publishers and handlers go through.
///
/// ```
/// use athomic_core::message::{OwnedRecord, RawMessage, TopicPartition};
/// use athomic_core::settings::Settings;
/// use athomic_core::testing::payload::PayloadRig;
/// use athomic_core::transport::OutgoingMessage;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let rig = PayloadRig::new(&Settings::default())?;
/// let mut message = OutgoingMessage { topic: "orders.v1".into(), ..Default::default() };
/// rig.encode(&mut message, &[1, 2]).await?;
/// let record = OwnedRecord::new(0, message.payload.unwrap_or_default());
/// let message = RawMessage::from_record(TopicPartition::new("orders.v1", 0), record);
/// assert_eq!(rig.decode::<Vec<u8>>(&message).await?, [1, 2]);
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct PayloadRig {
    payloads: Payloads,
    scope: Arc<HandlerScope>,
}

impl PayloadRig {
    /// Make the pipeline of `integration.messaging.payload.pipeline`, which serves all topics here.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let payloads = Payloads::new(settings, &PayloadSteps::default(), None)?;
        let scope = HandlerScope {
            handler_id: "rig".into(),
            group_id: "rig".into(),
            states: Arc::new(StateMap::default()),
            publisher: Publisher::new(Arc::new(
                MemoryBroker::new().transport(MemoryConsumerConfig::default()),
            )),
            headers: Arc::new(HeadersOrchestrator::default()),
            payloads: HandlerPayloads::one(Arc::clone(payloads.of(""))),
            telemetry: None,
        };
        Ok(Self {
            payloads,
            scope: Arc::new(scope),
        })
    }

    /// Write a value as a message's payload, and say in its headers how.
    ///
    /// # Errors
    /// The value has no form in the format, or a step refuses it.
    pub async fn encode<T: Encode + ?Sized>(
        &self,
        message: &mut OutgoingMessage,
        value: &T,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let pipeline = self.payloads.of(&message.topic);
        let format = T::WRITES.unwrap_or(pipeline.format());
        message.payload = Some(value.encode(format)?.into());
        Ok(pipeline.seal(message, format).await?)
    }

    /// Read a message's payload.
    ///
    /// # Errors
    /// It is not such a value, or a step refuses it.
    pub async fn decode<P: Payload>(&self, message: &RawMessage) -> Result<P, DecodeError> {
        payload::decode(&MessageContext::new(&self.scope, message, 1)).await
    }
}
