use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

use std::rc::Rc;

async fn pause() {}

#[subscribe_to(topic = "payments.v1")]
async fn on_paid(_paid: Paid) {
    let shared = Rc::new(1);
    pause().await;
    drop(shared);
}

fn main() {}
