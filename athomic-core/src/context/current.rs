//! The context in which a task runs.

use std::cell::OnceCell;
use std::future::Future;
use std::sync::Arc;

use super::{Context, HeadersOrchestrator};
use crate::message::RawMessage;

tokio::task_local! {
    static CURRENT: Current;
}

enum Current {
    Given(Context),
    /// That of a message, restored when somebody asks.
    Of(Handled),
}

struct Handled {
    message: RawMessage,
    headers: Arc<HeadersOrchestrator>,
    restored: OnceCell<Context>,
}

impl Handled {
    fn context(&self) -> Context {
        let restore = || self.headers.restore(&self.message);
        self.restored.get_or_init(restore).clone()
    }
}

/// Run something in a context: there [`Context::current`] returns it, and what is published carries it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use athomic_core::context::{Context, restore_context};
///
/// let context = Context::new().with_tenant_id("acme");
/// let tenant = async { Context::current().tenant_id().map(str::to_owned) };
/// assert_eq!(restore_context(context, tenant).await.as_deref(), Some("acme"));
/// assert!(Context::current().is_empty());
/// # });
/// ```
pub fn restore_context<F: Future>(context: Context, run: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(Current::Given(context), run)
}

/// Run something in the context of a message.
pub(super) fn of<F: Future>(
    message: &RawMessage,
    headers: &Arc<HeadersOrchestrator>,
    run: F,
) -> impl Future<Output = F::Output> + use<F> {
    let handled = Handled {
        message: message.clone(),
        headers: Arc::clone(headers),
        restored: OnceCell::new(),
    };
    CURRENT.scope(Current::Of(handled), run)
}

/// Return the context in which this runs.
pub(super) fn get() -> Context {
    let get = |current: &Current| match current {
        Current::Given(context) => context.clone(),
        Current::Of(handled) => handled.context(),
    };
    CURRENT.try_with(get).unwrap_or_default()
}

/// Return the context of the message that is handled here, if one is.
pub(super) fn of_message() -> Option<Context> {
    let get = |current: &Current| match current {
        Current::Given(_) => None,
        Current::Of(handled) => Some(handled.context()),
    };
    CURRENT.try_with(get).ok().flatten()
}
