#![deny(warnings)]
#![forbid(unsafe_code)]

use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid {
    amount: u64,
}

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(paid: Paid) {
    println!("{}", paid.amount);
}

fn main() {}
