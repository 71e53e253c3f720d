use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

use std::rc::Rc;

async fn pause() {}

#[subscribe_to(topic = "payments.v1", batch_size = 10)]
async fn on_paid(_paid: Vec<Paid>, State(_limit): State<u64>) {
    let shared = Rc::new(1);
    pause().await;
    drop(shared);
}

fn main() {}
