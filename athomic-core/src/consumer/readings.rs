//! What the consumers of a process have at the moment, for metrics and for people.

use std::sync::Arc;

use serde::Serialize;

use super::lane::LaneSettings;
use super::service::ConsumerService;
use crate::health::Pulse;
use crate::message::Partition;

/// Shows what the consumers of an application have at the moment. Cheap to clone; nothing is kept for it
/// while nobody asks.
///
/// ```
/// use athomic_core::app::App;
/// use athomic_core::handler::register::subscribe;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let on_order = subscribe("orders.v1").group_id("shop").handler_id("on_order").handler(|_: u32| async {});
/// let app = App::builder().without_discovery().register(on_order).settings(Default::default());
/// let app = app.build()?.start().await?;
/// app.publisher().publish("orders.v1", &1).await?;
/// let on_order = loop {
///     let reading = app.consumption().readings().remove(0);
///     let lag: i64 = reading.partitions.iter().filter_map(|partition| partition.lag).sum();
///     match reading.partitions.iter().any(|partition| partition.lag.is_some()) && lag == 0 {
///         true => break reading,
///         false => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
///     }
/// };
/// assert_eq!((on_order.handler_id.as_str(), on_order.group_id.as_str()), ("on_order", "shop"));
/// app.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConsumptionMonitor {
    consumers: Arc<[(Arc<LaneSettings>, Arc<Pulse>)]>,
}

/// What a handler's consumer has at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerReading {
    /// The handler.
    pub handler_id: String,
    /// Its group.
    pub group_id: String,
    /// The partitions that this process has of it.
    pub partitions: Vec<PartitionReading>,
}

/// What is known of an assigned partition at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartitionReading {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Partition,
    /// How many offsets lie between what is settled and the end of the log; `None` while that is not known.
    ///
    /// The end is the one that the client knows of its last fetch, so that a partition which is not fetched,
    /// since its messages are not taken, lags at least so much. Offsets that are no messages (markers of
    /// transactions, compaction) count, as they do for Kafka's own tools.
    pub lag: Option<i64>,
    /// Messages between the lowest that is not settled and the last that was fetched.
    pub unsettled: usize,
    /// Whether nothing more is read, since as much is unsettled as the settings allow.
    pub paused: bool,
}

impl ConsumptionMonitor {
    pub(super) fn new<'a>(consumers: impl Iterator<Item = &'a ConsumerService>) -> Self {
        Self {
            consumers: consumers
                .map(|consumer| (consumer.lane(), consumer.pulse()))
                .collect(),
        }
    }

    /// Look at all consumers now. Asks no broker and does not wait.
    #[must_use]
    pub fn readings(&self) -> Vec<ConsumerReading> {
        let reading = |(lane, pulse): &(Arc<LaneSettings>, Arc<Pulse>)| ConsumerReading {
            handler_id: lane.scope.handler_id.to_string(),
            group_id: lane.scope.group_id.to_string(),
            partitions: pulse.readings(),
        };
        self.consumers.iter().map(reading).collect()
    }
}
