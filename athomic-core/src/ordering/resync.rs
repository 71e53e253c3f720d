//! `Resync`: what the application knows of where an aggregate stands.

use std::future::Future;
use std::pin::Pin;

use crate::outcome::BoxError;

/// Tells where an aggregate stands that the ordering store does not know: because it is new, and
/// `first_sequence = "hook"`, or because the store lost its state. After a loss it is also asked about aggregates
/// of which messages wait, since what the store knows of them may be too old: once for each in a process, as long
/// as that remembers it. It is asked when one session's time has passed since the process heard of the loss: until
/// then another one that has not may still run a message.
///
/// Implemented for async functions and closures that take the aggregate's key. The answer is the last
/// sequence that the application has processed, and `None` if it knows nothing of the aggregate: that one
/// begins at the first sequence of all aggregates, which is 1 with `first_sequence = "hook"`. An error is
/// asked again; the aggregate waits meanwhile.
///
/// ```
/// use athomic_core::app::App;
///
/// async fn last_processed(order: String) -> Result<Option<u64>, std::io::Error> {
///     Ok((order == "order-17").then_some(4)) // from your own database
/// }
///
/// let app = App::builder().resync("billing::on_order", last_processed);
/// # let _ = app;
/// ```
pub trait Resync: Send + Sync + 'static {
    /// Return the last sequence of an aggregate that was processed.
    fn last_processed<'a>(
        &'a self,
        aggregate: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<u64>, BoxError>> + Send + 'a>>;
}

impl<F, Fut, E> Resync for F
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<u64>, E>> + Send + 'static,
    E: Into<BoxError>,
{
    fn last_processed<'a>(
        &'a self,
        aggregate: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<u64>, BoxError>> + Send + 'a>> {
        let asked = self(aggregate.to_owned());
        Box::pin(async { asked.await.map_err(Into::into) })
    }
}
