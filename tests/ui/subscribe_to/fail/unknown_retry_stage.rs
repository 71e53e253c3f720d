use athomic::subscribe_to;

#[subscribe_to(topic = "orders.v1", retry(max_attempts = 0, retry_on = ["panics"], order = "release"))]
async fn on_order(_: u32) {}

fn main() {}
