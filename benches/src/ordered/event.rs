//! The event: a version of an order, about 210 bytes of JSON.

use serde::{Deserialize, Serialize};

use crate::order::{Customer, Money};

/// How many orders there are: each is an aggregate.
const ORDERS: u64 = 10_000;
/// How many versions of an order come close to each other where they are scattered.
const RUN: u64 = 4;
/// How many neighbours are shuffled there.
const WINDOW: u64 = 64;

/// An order changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionedOrder {
    /// Names the order: the aggregate.
    pub order_id: String,
    /// Counts its changes from 1: the sequence.
    pub version: u64,
    /// When it changed, in milliseconds.
    pub changed_at: u64,
    /// Who placed it.
    pub customer: Customer,
    /// What is to be paid.
    pub total: Money,
    /// How far it is.
    pub status: String,
}

impl VersionedOrder {
    /// Make the event of this number where all versions come in their order: all orders by turns.
    #[must_use]
    pub fn nth(number: u64) -> Self {
        Self::of(number % ORDERS, number / ORDERS + 1)
    }

    /// Make the event of this number where neighbours come in no order: windows of 64 messages hold four
    /// versions each of 16 orders.
    #[must_use]
    pub fn nth_scattered(number: u64) -> Self {
        let (window, place) = (number / WINDOW, shuffled(number / WINDOW, number % WINDOW));
        let orders = WINDOW / RUN;
        let windows = ORDERS / orders;
        let (round, first) = (window / windows, window % windows * orders);
        Self::of(first + place % orders, round * RUN + place / orders + 1)
    }

    fn of(order: u64, version: u64) -> Self {
        Self {
            order_id: format!("order-{order:010}"),
            version,
            changed_at: 1_760_000_000_000 + version,
            customer: Customer {
                id: order,
                email: format!("customer-{order:05}@example.org"),
                country: "DE".to_owned(),
            },
            total: Money {
                amount: 1_000 + order % 90_000,
                currency: "EUR".to_owned(),
            },
            status: "placed".to_owned(),
        }
    }

    /// Return the payload.
    ///
    /// # Errors
    /// Never for this type.
    pub fn payload(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

/// Return a number that looks like chance and is the same each time (splitmix64).
#[must_use]
pub fn chance(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Return which place of a window comes at this one.
fn shuffled(window: u64, at: u64) -> u64 {
    let mut places: Vec<u64> = (0..WINDOW).collect();
    places.sort_by_key(|place| chance(window * WINDOW + place));
    places[usize::try_from(at).expect("a small window")]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn events_have_about_210_bytes() {
        for number in [0, 399_999] {
            let length = VersionedOrder::nth(number).payload().unwrap().len();
            assert!((195..=225).contains(&length), "{length}");
        }
    }

    #[test]
    fn both_orders_have_the_same_events() {
        let count = |event: fn(u64) -> VersionedOrder| {
            let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for event in (0..8 * ORDERS).map(event) {
                versions.entry(event.order_id).or_default().push(event.version);
            }
            versions
        };
        let (ordered, mut scattered) = (count(VersionedOrder::nth), count(VersionedOrder::nth_scattered));
        assert_ne!(ordered, scattered);
        scattered
            .values_mut()
            .for_each(|versions| versions.sort_unstable());
        assert_eq!(ordered, scattered);
    }
}
