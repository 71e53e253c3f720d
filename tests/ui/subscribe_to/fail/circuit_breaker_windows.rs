use athomic::prelude::*;

#[subscribe_to(
    topic = "payments.v1",
    circuit_breaker(window = "1m", window_calls = 50)
)]
async fn on_payment(_payment: u64) {}

fn main() {}
