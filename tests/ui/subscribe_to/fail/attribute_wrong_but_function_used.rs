use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "pay ments")]
async fn on_paid(_paid: Paid) {}

async fn other() {
    on_paid(Paid).await;
}

fn main() {}
