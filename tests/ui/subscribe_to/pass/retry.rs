use athomic::subscribe_to;

#[subscribe_to(
    topic = "orders.v1",
    group_id = "billing",
    retry(
        max_attempts = 5,
        mode = "republish",
        order = "release",
        retry_on = ["handler", "timeout"],
        backoff = "fixed",
        min_delay = "250ms",
        max_delay = "5m",
    ),
)]
async fn on_order(_: u32) {}

fn main() {}
