use athomic::prelude::*;

use std::borrow::Cow;

#[derive(Deserialize)]
struct Paid<'a>(Cow<'a, str>);

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid<'_>) {}

fn main() {}
