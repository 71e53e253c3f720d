//! Between traces as headers have them and as OpenTelemetry has them.

use std::str::FromStr;

use opentelemetry::trace::{Link, SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::context::{TRACEPARENT, TRACESTATE, TraceContext};
use crate::message::Headers;

/// Return the span that a trace context names.
pub(super) fn remote(trace: &TraceContext) -> SpanContext {
    let state = trace.state().and_then(|state| TraceState::from_str(state).ok());
    SpanContext::new(
        TraceId::from(trace.trace_number()),
        SpanId::from(trace.span_number()),
        if trace.is_sampled() {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::NOT_SAMPLED
        },
        true,
        state.unwrap_or_default(),
    )
}

/// Write a span down.
pub(super) fn local(span: &SpanContext) -> Option<TraceContext> {
    let traceparent = format!(
        "00-{}-{}-{:02x}",
        span.trace_id(),
        span.span_id(),
        u8::from(span.is_sampled())
    );
    let state = span.trace_state().header();
    TraceContext::parse(&traceparent).map(|trace| trace.with_state(Some(state)))
}

/// Put a span on a message that is published in it.
pub(super) fn inject(span: &SpanContext, headers: &mut Headers) {
    if let Some(trace) = local(span) {
        trace.inject(headers);
    }
}

/// Return the span that the headers of a record name.
pub(super) fn named_by(headers: &Headers) -> Option<SpanContext> {
    let text = |name| std::str::from_utf8(headers.get(name)?).ok();
    let trace = TraceContext::parse(text(TRACEPARENT)?)?;
    Some(remote(&trace.with_state(text(TRACESTATE).map(str::to_owned))))
}

pub(super) fn links(spans: impl IntoIterator<Item = SpanContext>) -> Vec<Link> {
    spans.into_iter().map(Link::with_context).collect()
}
