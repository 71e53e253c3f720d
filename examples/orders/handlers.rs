//! What the service does with messages. Nothing here is called by name: the attributes register it.

use std::time::Duration;

use athomic::prelude::*;

use crate::bank::{Bank, BankError};

/// Orders, as customers place them.
pub(crate) const PLACED: &str = "orders.placed.v1";
/// Orders that are paid.
pub(crate) const PAID: &str = "orders.paid.v1";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

/// Bill orders: up to 16 at once, those of one customer (the key) in their order.
#[subscribe_to(topic = PLACED, group_id = "orders-billing", concurrency = 16)]
async fn bill(
    order: Order,
    meta: Meta,
    State(bank): State<Bank>,
    publisher: Publisher,
) -> Result<(), HandlerError> {
    let Order { id, customer, cents } = &order;
    let attempt = meta.attempt();
    let total = bank.take(customer, *cents, attempt).await.map_err(|error| {
        println!("billing     {id}: {error} (attempt {attempt})");
        classify(error)
    })?;
    println!("billing     {id}: {customer} pays {cents}, {total} in all");
    // `?` takes any error: if this fails, the message is tried again by the policy.
    publisher.publish(PAID, &order).key(customer.clone()).await?;
    Ok(())
}

/// Say what an error means for the message.
fn classify(error: BankError) -> HandlerError {
    match error {
        BankError::Busy => HandlerError::retry_after(error, Duration::from_millis(500)),
        BankError::Unreachable => HandlerError::retry(error),
        BankError::Declined => HandlerError::dead_letter(error),
    }
}

/// Ship what is paid: partitions side by side, each in its order.
#[subscribe_to(topic = PAID, group_id = "orders-shipping")]
async fn ship(order: Order, Key(customer): Key<String>, meta: Meta) {
    let (topic, partition, offset) = (meta.topic(), meta.partition(), meta.offset());
    println!(
        "shipping    {}: to {customer} ({topic}[{partition}]@{offset})",
        order.id
    );
}

/// Count orders, many in one call. One result for each: an order without an id is given up by
/// itself, and the others are done.
#[subscribe_to(topic = PLACED, group_id = "orders-statistics", batch_size = 100, max_batch_linger_ms = 500)]
async fn count(orders: Vec<Message<Order>>) -> Vec<Result<(), HandlerError>> {
    let cents: u64 = orders.iter().map(|order| order.cents).sum();
    println!("statistics  {} orders, {cents} together", orders.len());
    let check = |order: &Message<Order>| match order.id.as_str() {
        "" => Err(HandlerError::dead_letter("an order without an id")),
        _ => Ok(()),
    };
    orders.iter().map(check).collect()
}
