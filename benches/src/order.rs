//! The event that the benches consume: an order, nested, about 210 bytes of JSON.

use serde::{Deserialize, Serialize};

/// How many customers there are: each is a key.
const CUSTOMERS: u64 = 10_000;

/// How many events stand in memory at least, for cases that need no server. More than are asked for,
/// so that runs of different lengths differ by what they handle and not by what they prepare.
const IN_MEMORY: u64 = 100_000;

/// Return the numbers of the events to prepare in memory for so many to be handled.
#[must_use]
pub fn in_memory(messages: u64) -> std::ops::Range<u64> {
    0..messages.max(IN_MEMORY)
}

/// An order was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderEvent {
    /// Names the order.
    pub order_id: String,
    /// When it was placed, in milliseconds.
    pub placed_at: u64,
    /// Who placed it.
    pub customer: Customer,
    /// What is to be paid.
    pub total: Money,
    /// How many articles it has.
    pub articles: u32,
    /// How far it is.
    pub status: String,
}

/// Who placed an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// Names the customer.
    pub id: u64,
    /// Where to write to.
    pub email: String,
    /// Where to deliver to.
    pub country: String,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Money {
    /// In the currency's smallest unit.
    pub amount: u64,
    /// The currency.
    pub currency: String,
}

impl OrderEvent {
    /// Make the event of this number; the same each time.
    #[must_use]
    pub fn nth(number: u64) -> Self {
        // Customers come in no order, as in life.
        let customer = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % CUSTOMERS;
        Self {
            order_id: format!("order-{number:010}"),
            placed_at: 1_760_000_000_000 + number,
            customer: Customer {
                id: customer,
                email: format!("customer-{customer:05}@example.org"),
                country: "DE".to_owned(),
            },
            total: Money {
                amount: 1_000 + number % 90_000,
                currency: "EUR".to_owned(),
            },
            articles: 1 + u32::try_from(number % 9).unwrap_or(0),
            status: "placed".to_owned(),
        }
    }

    /// Return the key: the customer.
    #[must_use]
    pub fn key(&self) -> String {
        format!("customer-{:05}", self.customer.id)
    }

    /// Return the payload.
    ///
    /// # Errors
    /// Never for this type.
    pub fn payload(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::OrderEvent;

    #[test]
    fn events_have_about_210_bytes() {
        for number in [0, 999_999] {
            let length = OrderEvent::nth(number).payload().unwrap().len();
            assert!((200..=220).contains(&length), "{length}");
        }
    }
}
