use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

struct Billing;

impl Billing {
    #[subscribe_to(topic = "payments.v1")]
    async fn on_paid(&self, _paid: Paid) {}
}

fn main() {}
