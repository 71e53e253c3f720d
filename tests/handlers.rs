//! What the attributes write down about handlers.
use athomic::handler::Handlers;
use athomic::prelude::*;

#[derive(Debug, Deserialize)]
struct Paid {
    id: u64,
}

#[subscribe_to(topic = "payments.v1", group_id = "billing")]
async fn on_paid(payment: Paid) -> Result<(), HandlerError> {
    let _ = payment.id;
    Ok(())
}

#[test]
fn handlers_are_discovered() {
    let handlers = Handlers::discover();
    assert_eq!(handlers.iter().next().unwrap().handler_id, "handlers::on_paid");
}
