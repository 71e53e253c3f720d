//! W3C Trace Context and Baggage: in which trace a message was published.

use std::fmt;

use super::Context;
use super::adapter::{ContextError, HeadersAdapter, Incoming};
use crate::message::Headers;

/// The header with the trace and the span of who published the message.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add to it.
pub const TRACESTATE: &str = "tracestate";
/// The header with values that travel with the trace.
pub const BAGGAGE: &str = "baggage";

/// How long `tracestate` may be and how many members it may have: what the specification has everybody carry.
const MAX_STATE: usize = 512;
const MAX_STATES: usize = 32;

/// The same for `baggage`.
const MAX_BAGGAGE: usize = 8192;
const MAX_ITEMS: usize = 64;

/// The trace and the span in which a message was published.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// Read a `traceparent`; `None` if it is not valid.
    ///
    /// ```
    /// use athomic_core::context::TraceContext;
    ///
    /// let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let trace = TraceContext::parse(parent).unwrap();
    /// assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    /// assert!(trace.is_sampled());
    /// assert_eq!(trace.traceparent(), parent);
    /// assert!(TraceContext::parse("00-00000000000000000000000000000000-b7ad6b7169203331-01").is_none());
    /// ```
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // A later version may have more parts; this one has not.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let trace = Self {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            flags: u8::try_from(flags).ok()?,
            state: None,
        };
        (trace.trace_id != 0 && trace.span_id != 0).then_some(trace)
    }

    /// Return the trace in hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Return the span in hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// Say whether who published the message records the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Return `tracestate`, if there is one.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    #[cfg_attr(
        not(feature = "otel"),
        expect(dead_code, reason = "spans are recorded with the feature")
    )]
    pub(crate) const fn trace_number(&self) -> u128 {
        self.trace_id
    }

    #[cfg_attr(
        not(feature = "otel"),
        expect(dead_code, reason = "spans are recorded with the feature")
    )]
    pub(crate) const fn span_number(&self) -> u64 {
        self.span_id
    }

    pub(crate) fn with_state(self, state: Option<String>) -> Self {
        Self {
            state: state.filter(|state| !state.is_empty()),
            ..self
        }
    }

    /// Put it on a message.
    pub(crate) fn inject(&self, headers: &mut Headers) {
        headers.set(TRACEPARENT, self.traceparent());
        headers.remove(TRACESTATE);
        if let Some(state) = &self.state {
            headers.push(TRACESTATE, Some(state.clone().into()));
        }
    }

    /// Write it as a `traceparent`. Flags that are unknown here are not carried on.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id(), self.span_id(), self.flags & 1)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

/// Read so many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let legal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(legal);
    u128::from_str_radix(text, 16).ok().filter(|_| fits)
}

/// Takes the trace of a message from the headers of W3C Trace Context and Baggage.
///
/// Without the feature `otel`, or with tracing switched off, they are carried on as they came, so that who
/// comes after is in the same trace.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagingTelemetryAdapter {
    propagation: Propagation,
}

/// Which headers take traces along: both, unless the environment says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Propagation {
    /// `traceparent` and `tracestate`.
    pub(crate) trace: bool,
    /// `baggage`.
    pub(crate) baggage: bool,
}

impl Default for Propagation {
    fn default() -> Self {
        Self {
            trace: true,
            baggage: true,
        }
    }
}

impl From<Propagation> for MessagingTelemetryAdapter {
    fn from(propagation: Propagation) -> Self {
        Self { propagation }
    }
}

impl HeadersAdapter for MessagingTelemetryAdapter {
    fn names(&self) -> &[&str] {
        &[TRACEPARENT, TRACESTATE, BAGGAGE]
    }

    fn extract(&self, message: &Incoming<'_>, context: &mut Context) {
        if self.propagation.baggage
            && let Some(baggage) = list(message, BAGGAGE, MAX_BAGGAGE, MAX_ITEMS)
        {
            context.set_baggage(baggage.to_owned());
        }
        if !self.propagation.trace {
            return;
        }
        let Some(parent) = message.text(TRACEPARENT) else {
            return;
        };
        let Some(trace) = TraceContext::parse(parent) else {
            return message.malformed(TRACEPARENT, "is not of the form `00-TRACE-SPAN-FLAGS`");
        };
        let state = list(message, TRACESTATE, MAX_STATE, MAX_STATES).map(str::to_owned);
        *context = std::mem::take(context).with_trace(trace.with_state(state));
    }

    fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError> {
        if let Some(trace) = context.trace().filter(|_| self.propagation.trace) {
            trace.inject(headers);
        }
        if let Some(baggage) = context.baggage().filter(|_| self.propagation.baggage) {
            headers.set(BAGGAGE, baggage.to_owned());
        }
        Ok(())
    }
}

/// Return a header that is a list with commas, if it keeps to its bounds.
fn list<'a>(message: &Incoming<'a>, name: &str, longest: usize, most: usize) -> Option<&'a str> {
    let text = message.text(name)?;
    let plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    let reason = if text.len() > longest {
        "is too long"
    } else if text.split(',').count() > most {
        "has too many members"
    } else if !text.bytes().all(plain) {
        "holds a character that is none of a header"
    } else {
        return Some(text).filter(|text| !text.is_empty());
    };
    message.malformed(name, reason);
    None
}
