use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid, Key(_key): Key<f64>) {}

fn main() {}
