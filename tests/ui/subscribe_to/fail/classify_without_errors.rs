use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

fn by_kind(_error: &std::io::Error) -> Disposition {
    Disposition::Retry
}

#[subscribe_to(topic = "payments.v1", retry(classify = by_kind))]
async fn on_paid(_paid: Paid) -> Outcome {
    Outcome::Ack
}

fn main() {}
