//! `Context`: what is known about why something is done.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::application::{FeatureFlag, Fields};
use super::current;
use super::lineage::LineageRun;
use super::telemetry::TraceContext;
use crate::handler::{ExtractError, FromMessage, MessageContext};
use crate::settings::ContextField;

/// What is known about why something is done: request, tenant, user, trace. Cheap to clone; an empty one is
/// free.
///
/// A handler takes it as an argument, or asks [`Context::current`] wherever it is needed. What the handler
/// publishes carries it on.
///
/// ```
/// use athomic_core::context::{Context, restore_context};
/// use athomic_core::publisher::{PublishError, Publisher};
///
/// async fn on_order(order: serde_json::Value, context: Context, publisher: Publisher) -> Result<(), PublishError> {
///     println!("order of {}", context.tenant_id().unwrap_or("nobody"));
///     // Carries the same context.
///     publisher.publish("orders.seen.v1", &order).await?;
///     // From here on somebody else does it.
///     let system = context.with_user_id("system");
///     restore_context(system, async { publisher.publish("orders.audit.v1", &order).await }).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Default)]
pub struct Context(Option<Arc<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    fields: Fields,
    trace: Option<TraceContext>,
    baggage: Option<String>,
    lineage: Option<LineageRun>,
    /// The values of the application's own adapters.
    own: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

impl Context {
    /// Begin with nothing; does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Return the context in which this runs: that of the message that a handler handles, or what
    /// [`restore_context`](super::restore_context) was given; empty elsewhere.
    ///
    /// It belongs to the task: what is spawned runs without it, unless it is handed over.
    #[must_use]
    pub fn current() -> Self {
        current::get()
    }

    /// Say whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Return the request that all this began with.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.field(ContextField::RequestId)
    }

    /// Return the tenant for whom it is done.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&str> {
        self.field(ContextField::TenantId)
    }

    /// Return the user who asked for it.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.field(ContextField::UserId)
    }

    /// Return the user's role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.field(ContextField::Role)
    }

    /// Return the user's language and region, such as `pt-BR`.
    #[must_use]
    pub fn locale(&self) -> Option<&str> {
        self.field(ContextField::Locale)
    }

    /// Return what several requests and messages have in common.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.field(ContextField::CorrelationId)
    }

    /// Return the trace in hexadecimal digits: that of `traceparent`, or else what `athomic-context` says.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        let told = || self.field(ContextField::TraceId).map(str::to_owned);
        self.trace().map(TraceContext::trace_id).or_else(told)
    }

    /// Return the span that the message was published in, in hexadecimal digits: that of `traceparent`, or
    /// else what `athomic-context` says.
    #[must_use]
    pub fn span_id(&self) -> Option<String> {
        let told = || self.field(ContextField::SpanId).map(str::to_owned);
        self.trace().map(TraceContext::span_id).or_else(told)
    }

    /// Return what a feature is set to.
    #[must_use]
    pub fn feature_flag(&self, name: &str) -> Option<&FeatureFlag> {
        self.0.as_ref()?.fields.flags.get(name)
    }

    /// Return all features that are set, by name.
    #[must_use]
    pub fn feature_flags(&self) -> &BTreeMap<String, FeatureFlag> {
        static NONE: BTreeMap<String, FeatureFlag> = BTreeMap::new();
        self.0.as_ref().map_or(&NONE, |inner| &inner.fields.flags)
    }

    /// Return the trace that the message was published in.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.0.as_ref()?.trace.as_ref()
    }

    /// Return W3C baggage as the message had it.
    #[must_use]
    pub fn baggage(&self) -> Option<&str> {
        self.0.as_ref()?.baggage.as_deref()
    }

    /// Return the run that published the message, for lineage.
    #[must_use]
    pub fn lineage(&self) -> Option<&LineageRun> {
        self.0.as_ref()?.lineage.as_ref()
    }

    /// Return a value that an adapter of the application's own, or [`insert`](Self::insert), has put in.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let own = &self.0.as_ref()?.own;
        let (_, value) = own.iter().find(|(kind, _)| *kind == TypeId::of::<T>())?;
        value.downcast_ref()
    }

    /// Put a value in; one of the same type is replaced. It travels if an adapter of the application's own
    /// puts it on messages.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        let own = &mut self.inner().own;
        own.retain(|(kind, _)| *kind != TypeId::of::<T>());
        own.push((TypeId::of::<T>(), Arc::new(value)));
    }

    /// Set the request and return the context.
    #[must_use]
    pub fn with_request_id(self, id: impl Into<String>) -> Self {
        self.with(ContextField::RequestId, id.into())
    }

    /// Set the tenant and return the context.
    #[must_use]
    pub fn with_tenant_id(self, id: impl Into<String>) -> Self {
        self.with(ContextField::TenantId, id.into())
    }

    /// Set the user and return the context.
    #[must_use]
    pub fn with_user_id(self, id: impl Into<String>) -> Self {
        self.with(ContextField::UserId, id.into())
    }

    /// Set the user's role and return the context.
    #[must_use]
    pub fn with_role(self, role: impl Into<String>) -> Self {
        self.with(ContextField::Role, role.into())
    }

    /// Set the user's language and region and return the context.
    #[must_use]
    pub fn with_locale(self, locale: impl Into<String>) -> Self {
        self.with(ContextField::Locale, locale.into())
    }

    /// Set what several requests and messages have in common, and return the context.
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        self.with(ContextField::CorrelationId, id.into())
    }

    /// Set a feature and return the context.
    #[must_use]
    pub fn with_feature_flag(mut self, name: impl Into<String>, flag: impl Into<FeatureFlag>) -> Self {
        self.inner().fields.flags.insert(name.into(), flag.into());
        self
    }

    /// Set the trace and return the context.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.inner().trace = Some(trace);
        self
    }

    /// Set the run that messages come of and return the context.
    #[must_use]
    pub fn with_lineage(mut self, run: LineageRun) -> Self {
        self.inner().lineage = Some(run);
        self
    }

    pub(super) fn set_baggage(&mut self, baggage: String) {
        self.inner().baggage = Some(baggage);
    }

    pub(super) fn fields(&self) -> Option<&Fields> {
        self.0.as_ref().map(|inner| &inner.fields)
    }

    pub(super) fn fields_mut(&mut self) -> &mut Fields {
        &mut self.inner().fields
    }

    fn field(&self, field: ContextField) -> Option<&str> {
        self.0.as_ref()?.fields.text(field)
    }

    fn with(mut self, field: ContextField, text: String) -> Self {
        self.inner().fields.texts.insert(field, text);
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl FromMessage for Context {
    fn from_message(context: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Ok(current::of_message().unwrap_or_else(|| context.restore()))
    }
}

impl fmt::Debug for Context {
    /// Shows which fields are known, not what they say: that may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(inner) = &self.0 else {
            return f.write_str("Context (empty)");
        };
        let fields = inner.fields.texts.keys().map(|field| field.as_str());
        f.debug_struct("Context")
            .field("fields", &fields.collect::<Vec<_>>())
            .field("feature_flags", &inner.fields.flags.len())
            .field("trace", &inner.trace)
            .field("lineage", &inner.lineage)
            .finish_non_exhaustive()
    }
}
