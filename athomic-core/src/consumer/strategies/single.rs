//! One message after the other: a partition is one lane.

use super::super::lane::{LaneContext, LaneSource};
use super::super::processor::ErasedSingle;
use crate::transport::TransportError;

/// Run a lane until it stops.
pub(in super::super) async fn run(
    processor: &dyn ErasedSingle,
    context: &LaneContext,
    source: &mut LaneSource,
) -> Result<(), TransportError> {
    while let Some(batch) = source.next(context, context.settings.fetch).await? {
        let slot = context.state.track(batch.as_ref());
        processor.process(context, batch, slot).await;
        // A handler that never waits would keep this thread from all other lanes.
        tokio::task::yield_now().await;
    }
    Ok(())
}
