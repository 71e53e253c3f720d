//! `Pipeline`: a format and the steps behind it, as one thing. Encoding runs down the list, decoding up.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::check::UnfitStep;
use super::format::Format;
#[cfg(feature = "schema-registry")]
use super::registry::{Framed, RegistryError, SchemaId, SchemaRegistry, WriterSchema};
use super::step::{DecodeLimits, Kind, PayloadContext, Step, StepError};
use super::{CONTENT_TYPE, DecodeError, PIPELINE};
use crate::message::{MESSAGE_ID, RawMessage};
use crate::telemetry::{Direction, StepTelemetry};
use crate::transport::OutgoingMessage;

/// How the payloads of a topic are written and read.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(super) format: Format,
    /// The formats that a record may name in the place of that one.
    pub(super) accepted: Vec<Format>,
    /// What comes after the format, in the order of encoding, each with its name.
    pub(super) steps: Vec<NamedStep>,
    pub(super) limits: DecodeLimits,
    /// Whether what is not encrypted is refused, also where the step `crypto` accepts it.
    pub(super) encrypted_only: bool,
    /// Who knows the schemas that payloads name.
    #[cfg(feature = "schema-registry")]
    pub(super) registry: Option<Arc<SchemaRegistry>>,
}

/// A step and its name in the settings.
#[derive(Debug, Clone)]
pub(super) struct NamedStep {
    pub(super) name: Arc<str>,
    pub(super) step: Step,
    /// What is recorded about it; `None` without metrics.
    pub(super) telemetry: Option<Arc<StepTelemetry>>,
}

impl NamedStep {
    /// Return when the step begins, if anybody wants to know.
    fn begin(&self) -> Option<Instant> {
        self.telemetry.as_ref().map(|telemetry| telemetry.begin())
    }

    /// Note what it made of so many bytes.
    fn note<P: AsRef<[u8]>>(
        &self,
        direction: Direction,
        began: Option<Instant>,
        bytes: usize,
        made: &Result<P, StepError>,
    ) {
        if let Some((telemetry, began)) = self.telemetry.as_ref().zip(began) {
            let made = made.as_ref().map(|made| made.as_ref().len());
            telemetry.end(direction, began, bytes, made);
        }
    }
}

/// A payload on its way through the steps, which waits if one of them has to.
pub(crate) enum Opening<'a> {
    /// All steps are done.
    Opened(Cow<'a, [u8]>),
    /// A step has to wait for something.
    Waits(BoxFuture<'a, Result<Cow<'a, [u8]>, DecodeError>>),
}

impl Pipeline {
    /// Say whether there are no steps behind the format.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.steps.is_empty()
    }

    /// Say whether payloads are read from the fetched bytes, with nothing else to look for.
    pub(super) fn reads_as_fetched(&self) -> bool {
        #[cfg(feature = "schema-registry")]
        if self.registry.is_some() {
            return false;
        }
        self.is_plain()
    }

    /// Say whether decoding may have to wait, for a step or for a schema.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        #[cfg(feature = "schema-registry")]
        if self.registry.is_some() {
            return true;
        }
        let waits = |step: &NamedStep| matches!(step.step.0, Kind::Waiting(_));
        self.steps.iter().any(waits)
    }

    /// Take from an opened payload what names its schema in the registry.
    #[cfg(feature = "schema-registry")]
    pub(super) fn frame<'p>(
        &self,
        message: &RawMessage,
        payload: &'p [u8],
    ) -> Result<Option<Framed<'p>>, RegistryError> {
        let Some(registry) = &self.registry else {
            return Ok(None);
        };
        registry.frame(self.format_of(message), message, payload)
    }

    /// Ask the registry for a schema.
    #[cfg(feature = "schema-registry")]
    pub(super) async fn schema(&self, id: SchemaId) -> Result<Arc<WriterSchema>, RegistryError> {
        let registry = self.registry.as_ref().expect("the registry has named the schema");
        registry.ask(id).await
    }

    /// Look whether what the steps need can be used.
    pub(super) async fn check(&self) -> Result<(), UnfitStep> {
        for named in &self.steps {
            if let Kind::Waiting(step) = &named.step.0 {
                step.check().await.map_err(|source| UnfitStep {
                    step: Arc::clone(&named.name),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Say whether a step of this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.steps.iter().any(|step| *step.name == *name)
    }

    /// Return the format that values are written in.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Return the format of a message: the one that it names, where that is accepted, else the topic's.
    #[must_use]
    pub fn format_of(&self, message: &RawMessage) -> Format {
        if self.accepted.is_empty() {
            return self.format;
        }
        let named = message.header(CONTENT_TYPE).and_then(Format::from_content_type);
        named
            .filter(|format| self.accepted.contains(format))
            .unwrap_or(self.format)
    }

    /// Take a serialized payload through the steps and say in the headers what was done.
    pub(crate) async fn seal(&self, message: &mut OutgoingMessage, format: Format) -> Result<(), SealError> {
        let content_type = Bytes::from_static(format.content_type().as_bytes());
        // Before the message id, so that the headers of most messages are in order: a map can hold them.
        message.headers.set_first(CONTENT_TYPE, content_type);
        if self.is_plain() {
            return Ok(());
        }
        message.headers.set(PIPELINE, self.describe(format));
        let Some(payload) = message.payload.take() else {
            return Ok(());
        };
        let mut payload = Vec::from(payload);
        if payload.len() > self.limits.bytes {
            let limit = self.limits.bytes;
            return Err(SealError::of("serializer", StepError::TooLarge { limit }));
        }
        let context = PayloadContext {
            topic: &message.topic,
            key: message.key.as_deref(),
            message_id: message.headers.get(MESSAGE_ID),
            limits: self.limits,
            encrypted_only: self.encrypted_only,
        };
        for named in &self.steps {
            let (began, bytes) = (named.begin(), payload.len());
            let sealed = match &named.step.0 {
                Kind::Immediate(step) => step.encode(payload, &context),
                Kind::Waiting(step) => step.encode(payload, &context).await,
            };
            named.note(Direction::Encode, began, bytes, &sealed);
            payload = sealed.map_err(|error| SealError::of(&named.name, error))?;
        }
        message.payload = Some(payload.into());
        Ok(())
    }

    /// Take a message's payload back through the steps.
    pub(crate) fn open<'a>(
        &'a self,
        message: &'a RawMessage,
        payload: &'a [u8],
    ) -> Result<Opening<'a>, DecodeError> {
        let context = PayloadContext {
            topic: message.topic(),
            key: message.key(),
            message_id: message.header(MESSAGE_ID),
            limits: self.limits,
            encrypted_only: self.encrypted_only,
        };
        let (left, payload) = self.open_immediate(self.steps.len(), payload.into(), &context)?;
        if left == 0 {
            return Ok(Opening::Opened(payload));
        }
        let waits = async move {
            let (mut left, mut payload) = (left, payload);
            while left > 0 {
                let named = &self.steps[left - 1];
                if let Kind::Waiting(step) = &named.step.0 {
                    let (began, bytes) = (named.begin(), payload.len());
                    let opened = self.bounded(step.decode(&payload, &context).await);
                    named.note(Direction::Decode, began, bytes, &opened);
                    payload = opened.map_err(|source| refused(named, source))?.into();
                }
                (left, payload) = self.open_immediate(left - 1, payload, &context)?;
            }
            Ok(payload)
        };
        Ok(Opening::Waits(Box::pin(waits)))
    }

    /// Run the steps below a place until one has to wait; return how many are left, that one included.
    fn open_immediate<'p>(
        &self,
        mut left: usize,
        mut payload: Cow<'p, [u8]>,
        context: &PayloadContext<'_>,
    ) -> Result<(usize, Cow<'p, [u8]>), DecodeError> {
        while let Some(named) = left.checked_sub(1).map(|place| &self.steps[place]) {
            match &named.step.0 {
                Kind::Waiting(step) if step.is_mine(&payload) => break,
                Kind::Waiting(_) => {}
                Kind::Immediate(step) => {
                    let (began, bytes) = (named.begin(), payload.len());
                    let opened = self.bounded(step.decode(payload, context));
                    named.note(Direction::Decode, began, bytes, &opened);
                    payload = opened.map_err(|source| refused(named, source))?;
                }
            }
            left -= 1;
        }
        Ok((left, payload))
    }

    /// Take what a step made, if it is no larger than it may be.
    fn bounded<P: AsRef<[u8]>>(&self, made: Result<P, StepError>) -> Result<P, StepError> {
        let (payload, limit) = (made?, self.limits.bytes);
        if payload.as_ref().len() > limit {
            return Err(StepError::TooLarge { limit });
        }
        Ok(payload)
    }

    /// Say what the steps do, as in `json,zstd,xchacha20poly1305:2026-11`.
    fn describe(&self, format: Format) -> String {
        let mut text = format.as_str().to_owned();
        for NamedStep { step, .. } in &self.steps {
            text.push(',');
            text += &step.label();
        }
        text
    }
}

/// Say which step refused a payload.
fn refused(named: &NamedStep, source: StepError) -> DecodeError {
    DecodeError::Step {
        step: Arc::clone(&named.name),
        source,
    }
}

/// The list, as settings and descriptions show it.
impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(self.format))
    }
}

/// A step refused a payload on its way out.
#[derive(Debug, thiserror::Error)]
#[error("the step `{step}` cannot write it")]
pub struct SealError {
    step: String,
    #[source]
    source: StepError,
}

impl SealError {
    fn of(step: &str, source: StepError) -> Self {
        Self {
            step: step.to_owned(),
            source,
        }
    }

    /// Say whether trying again can help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        self.source.is_retriable()
    }
}
