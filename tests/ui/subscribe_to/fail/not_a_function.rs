use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1")]
struct Handler;

fn main() {}
