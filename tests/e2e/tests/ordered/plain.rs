//! Nothing fails.

use athomic_rig::Allowed;

use crate::field::Field;

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_keep_the_order_of_aggregates_that_come_shuffled_over_all_partitions() {
    let Some(mut field) = Field::new("ordered-plain", false).await else {
        return;
    };
    let events = field.rig.publish_shuffled(&field.events, 10).await;
    field.start_workers(3);
    field.finish(events, Allowed::default()).await;
}
