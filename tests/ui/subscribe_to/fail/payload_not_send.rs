use athomic::prelude::*;

use std::marker::PhantomData;

#[derive(Deserialize)]
struct Paid(PhantomData<*const u8>);

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid) {}

fn main() {}
