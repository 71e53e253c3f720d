use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid) -> Result<u64, HandlerError> {
    Ok(1)
}

fn main() {}
