//! What a step of the pipeline is: bytes to bytes, with a way back.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// What a step knows of the message whose payload it works on.
#[derive(Debug, Clone, Copy)]
pub struct PayloadContext<'a> {
    /// The topic that it is written to, or was read from.
    pub topic: &'a str,
    /// Its key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// Its id, see [`MESSAGE_ID`](crate::message::MESSAGE_ID).
    pub message_id: Option<&'a [u8]>,
    /// What its payload may become while it is decoded.
    pub limits: DecodeLimits,
    /// Whether its handler takes nothing that anybody might have written: what is not encrypted is refused.
    pub encrypted_only: bool,
}

/// What a payload may become while it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The most bytes.
    pub bytes: usize,
    /// How many times the fetched bytes, once it is over 1 MiB.
    pub ratio: usize,
}

/// Up to this size the ratio does not count: small payloads may compress as well as they like.
const RATIO_FROM: usize = 1 << 20;

impl DecodeLimits {
    /// Return the most bytes that may be made of so many.
    #[must_use]
    pub fn output_of(&self, input: usize) -> usize {
        self.bytes.min(input.saturating_mul(self.ratio).max(RATIO_FROM))
    }
}

/// A step could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The bytes are not what the step writes.
    #[error("{what}")]
    Malformed {
        /// What is wrong with them.
        what: Cow<'static, str>,
    },
    /// The payload became larger than the settings allow.
    #[error(
        "the payload is larger than {limit} bytes; see `integration.messaging.payload.max_decoded_bytes` and `max_ratio`"
    )]
    TooLarge {
        /// The most bytes that it might have had.
        limit: usize,
    },
    /// What the step needs is not there now: trying again can help.
    #[error("{what}")]
    Unavailable {
        /// What is missing.
        what: Cow<'static, str>,
        /// Why.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl StepError {
    /// Say that the bytes are at fault: the message goes to the dead letters at once.
    pub fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed { what: what.into() }
    }

    /// Say that something is missing that may come back: the message is tried again.
    pub fn unavailable(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unavailable {
            what: what.into(),
            source: None,
        }
    }

    /// The same, because of another error.
    pub fn unavailable_because(
        what: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    /// Say whether trying again can help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Return the kind of the error, as the attribute `error.type` of telemetry has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// A step that needs nothing but the bytes. Most do; see [`AsyncPayloadStep`] for the others.
///
/// # Contract
/// - `decode` gives back exactly what `encode` was given, in any process with the same settings. It tells its
///   own bytes from others by themselves: headers may be lost, and payloads may come from elsewhere.
/// - `decode` takes any bytes without a panic, and makes no more of them than `context.limits` allows.
/// - Calls come at once, from all threads.
pub trait PayloadStep: fmt::Debug + Send + Sync + 'static {
    /// Return what the step did, for the header `athomic-pipeline`, such as `zstd`; nothing if it says nothing.
    fn label(&self) -> Cow<'_, str>;

    /// Take the payload on its way out.
    ///
    /// # Errors
    /// The step cannot write it.
    fn encode(&self, payload: Vec<u8>, context: &PayloadContext<'_>) -> Result<Vec<u8>, StepError>;

    /// Take the payload on its way in; what is left as it is, is not copied.
    ///
    /// # Errors
    /// The bytes are not those of this step, or something that it needs is missing now.
    fn decode<'p>(
        &self,
        payload: Cow<'p, [u8]>,
        context: &PayloadContext<'_>,
    ) -> Result<Cow<'p, [u8]>, StepError>;
}

/// A step that waits for something, such as a store. Otherwise as [`PayloadStep`].
///
/// Its futures may be dropped at any await.
pub trait AsyncPayloadStep: fmt::Debug + Send + Sync + 'static {
    /// See [`PayloadStep::label`].
    fn label(&self) -> Cow<'_, str>;

    /// Say whether the step has anything to do with bytes that were read; if not, they pass without a wait.
    fn is_mine(&self, payload: &[u8]) -> bool;

    /// Look at the start whether what the step needs can be used. Unless a step says otherwise there is nothing to
    /// look at.
    ///
    /// # Errors
    /// What cannot be used, and what to change; the application does not start.
    fn check(&self) -> impl Future<Output = Result<(), StepError>> + Send {
        std::future::ready(Ok(()))
    }

    /// See [`PayloadStep::encode`].
    fn encode(
        &self,
        payload: Vec<u8>,
        context: &PayloadContext<'_>,
    ) -> impl Future<Output = Result<Vec<u8>, StepError>> + Send;

    /// See [`PayloadStep::decode`].
    fn decode(
        &self,
        payload: &[u8],
        context: &PayloadContext<'_>,
    ) -> impl Future<Output = Result<Vec<u8>, StepError>> + Send;
}

/// A step of either kind, ready for a pipeline.
#[derive(Debug, Clone)]
pub struct Step(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Immediate(Arc<dyn PayloadStep>),
    Waiting(Arc<dyn DynAsyncStep>),
}

impl Step {
    /// Take a step that needs nothing but the bytes.
    pub fn immediate(step: impl PayloadStep) -> Self {
        Self(Kind::Immediate(Arc::new(step)))
    }

    /// Take a step that waits.
    pub fn waiting(step: impl AsyncPayloadStep) -> Self {
        Self(Kind::Waiting(Arc::new(step)))
    }

    pub(super) fn label(&self) -> Cow<'_, str> {
        match &self.0 {
            Kind::Immediate(step) => step.label(),
            Kind::Waiting(step) => step.label(),
        }
    }
}

/// [`AsyncPayloadStep`] without its future's type.
pub(super) trait DynAsyncStep: fmt::Debug + Send + Sync {
    fn label(&self) -> Cow<'_, str>;
    fn is_mine(&self, payload: &[u8]) -> bool;
    fn check(&self) -> BoxFuture<'_, Result<(), StepError>>;
    fn encode<'a>(
        &'a self,
        payload: Vec<u8>,
        context: &'a PayloadContext<'a>,
    ) -> BoxFuture<'a, Result<Vec<u8>, StepError>>;
    fn decode<'a>(
        &'a self,
        payload: &'a [u8],
        context: &'a PayloadContext<'a>,
    ) -> BoxFuture<'a, Result<Vec<u8>, StepError>>;
}

impl<S: AsyncPayloadStep> DynAsyncStep for S {
    fn label(&self) -> Cow<'_, str> {
        AsyncPayloadStep::label(self)
    }

    fn is_mine(&self, payload: &[u8]) -> bool {
        AsyncPayloadStep::is_mine(self, payload)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StepError>> {
        Box::pin(AsyncPayloadStep::check(self))
    }

    fn encode<'a>(
        &'a self,
        payload: Vec<u8>,
        context: &'a PayloadContext<'a>,
    ) -> BoxFuture<'a, Result<Vec<u8>, StepError>> {
        Box::pin(AsyncPayloadStep::encode(self, payload, context))
    }

    fn decode<'a>(
        &'a self,
        payload: &'a [u8],
        context: &'a PayloadContext<'a>,
    ) -> BoxFuture<'a, Result<Vec<u8>, StepError>> {
        Box::pin(AsyncPayloadStep::decode(self, payload, context))
    }
}
