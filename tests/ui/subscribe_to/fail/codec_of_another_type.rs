use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid;

#[subscribe_to(topic = "payments.v1", codec = "protobuf")]
async fn on_paid(_paid: Paid) {}

#[subscribe_to(topic = "payments.v1", codec = "avro", batch_size = 10)]
async fn on_all_paid(_paid: Vec<Message<Paid>>) {}

fn main() {}
