use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

struct Pool;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid, State(_pool): State<Pool>) {}

fn main() {}
