//! Lag on real Kafka, as the client knows it from what it fetched.

use std::sync::Arc;
use std::time::Duration;

use athomic::app::{AppBuilder, RunningApp};
use athomic::handler::register::subscribe;
use athomic_rig::{Rig, within};
use tokio::sync::Semaphore;

/// Begin an application whose handler does nothing before it is let through.
fn app(rig: &Rig, gate: &Arc<Semaphore>) -> AppBuilder {
    let gate = Arc::clone(gate);
    let handler = subscribe(&*rig.topic)
        .group_id(&*rig.group)
        .handler(move |_: u64| {
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await.map(|leave| leave.forget()) }
        });
    rig.app("").register(handler)
}

async fn until_lag_is(app: &RunningApp, wanted: i64) {
    let what = format!("the lag is {wanted}");
    within(Duration::from_secs(90), &what, async || {
        let readings = app.consumption().readings();
        let [partition] = &readings[0].partitions[..] else {
            return false;
        };
        partition.lag == Some(wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_what_is_not_settled_and_0_at_the_end_of_the_log() {
    let Some(rig) = Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), "lag", 1).await else {
        return;
    };
    let gate = Arc::new(Semaphore::new(0));
    let first = app(&rig, &gate).build().expect("it is valid");
    let first = first.start().await.expect("it starts");
    for number in 0..20_u64 {
        let published = first.publisher().publish(&*rig.topic, &number).await;
        published.expect("acknowledged");
    }
    until_lag_is(&first, 20).await;
    gate.add_permits(5);
    until_lag_is(&first, 15).await;
    gate.add_permits(15);
    until_lag_is(&first, 0).await;
    first.stop().await;
    // Who joins where nothing is left knows that too.
    let second = app(&rig, &gate).build().expect("it is valid");
    let second = second.start().await.expect("it starts");
    until_lag_is(&second, 0).await;
    second.stop().await;
}
