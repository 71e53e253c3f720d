use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

use std::error::Error;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid) -> Result<(), Box<dyn Error>> {
    Ok(())
}

fn main() {}
