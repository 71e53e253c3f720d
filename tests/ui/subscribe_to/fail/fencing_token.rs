use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid, _meta: Meta, _token: athomic::store::ordering::FencingToken) {}

fn main() {}
