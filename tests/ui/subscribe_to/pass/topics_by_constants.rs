#![deny(warnings)]

use athomic::prelude::*;

mod topics {
    pub const PAYMENTS: &str = "payments.v1";

    pub struct Refunds;

    impl Refunds {
        pub const TOPIC: &'static str = "refunds.v1";
    }
}

#[subscribe_to(topic = topics::PAYMENTS)]
async fn on_paid(_paid: u64) {}

#[subscribe_to(topic = crate::topics::Refunds::TOPIC)]
async fn on_refunded(_refunded: u64) {}

#[subscribe_to(topic = [topics::PAYMENTS, "chargebacks.v1", topics::Refunds::TOPIC])]
async fn on_any(_any: u64) {}

fn main() {
    const LOCAL: &str = "local.v1";

    #[subscribe_to(topic = LOCAL)]
    async fn on_local(_local: u64) {}
}
