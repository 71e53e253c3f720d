use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", retry(classify = "by_kind"))]
async fn on_paid(_paid: Paid) -> Result<(), std::io::Error> {
    Ok(())
}

fn main() {}
