use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

fn may_pass(_error: &std::io::Error) -> bool {
    true
}

#[subscribe_to(topic = "payments.v1", retry(classify = may_pass))]
async fn on_paid(_paid: Paid) -> Result<(), std::io::Error> {
    Ok(())
}

fn main() {}
