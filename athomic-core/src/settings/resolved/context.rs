//! What context travels with messages.

use crate::settings::choice::choice;

/// What context travels with messages: section `context`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextSettings {
    /// The fields that are taken from messages and put on those that a handler publishes. Default: all but
    /// `trace_id` and `span_id`, which the trace context says.
    pub propagate: Vec<ContextField>,
    /// Topics, or beginnings of their names with `*` behind, whose messages bring no context of any kind.
    /// Those that carry a priority are meant too. Default: none.
    pub untrusted_topics: Vec<String>,
}

impl Default for ContextSettings {
    fn default() -> Self {
        Self {
            propagate: vec![
                ContextField::RequestId,
                ContextField::TenantId,
                ContextField::UserId,
                ContextField::Role,
                ContextField::Locale,
                ContextField::CorrelationId,
                ContextField::FeatureFlags,
            ],
            untrusted_topics: Vec::new(),
        }
    }
}

choice! {
    /// A field of the application's context.
    pub enum ContextField {
        /// The request that all this began with.
        RequestId = "request_id",
        /// The trace, as the header `athomic-context` has it.
        TraceId = "trace_id",
        /// The span, as the header `athomic-context` has it.
        SpanId = "span_id",
        /// The tenant.
        TenantId = "tenant_id",
        /// The user.
        UserId = "user_id",
        /// The user's role.
        Role = "role",
        /// The user's language and region.
        Locale = "locale",
        /// What several requests and messages have in common.
        CorrelationId = "correlation_id",
        /// What is switched on or off.
        FeatureFlags = "feature_flags",
    }
    not built: []
}

impl ContextField {
    /// All fields, in the order in which they are written.
    pub const ALL: [Self; 9] = [
        Self::RequestId,
        Self::TraceId,
        Self::SpanId,
        Self::TenantId,
        Self::UserId,
        Self::Role,
        Self::Locale,
        Self::CorrelationId,
        Self::FeatureFlags,
    ];
}
