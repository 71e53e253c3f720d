use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

struct Broken;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid) -> Result<(), Broken> {
    Ok(())
}

fn main() {}
