//! The payload: an order that all formats can write, of the size that is asked for.

use athomic_core::payload::AvroSchema;
use serde::{Deserialize, Serialize};

/// An order with as many articles as make up its size.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Order {
    /// Names the order.
    #[prost(string, tag = "1")]
    pub order_id: String,
    /// When it was placed, in milliseconds.
    #[prost(int64, tag = "2")]
    pub placed_at: i64,
    /// What it is for.
    #[prost(message, repeated, tag = "3")]
    pub articles: Vec<Article>,
}

/// What is ordered.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Article {
    /// Names the article.
    #[prost(string, tag = "1")]
    pub sku: String,
    /// How many.
    #[prost(int64, tag = "2")]
    pub count: i64,
    /// The price of one.
    #[prost(int64, tag = "3")]
    pub cents: i64,
}

impl AvroSchema for Order {
    const SCHEMA: &'static str = r#"{"type": "record", "name": "Order", "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "placed_at", "type": "long"},
        {"name": "articles", "type": {"type": "array", "items": {"type": "record", "name": "Article", "fields": [
            {"name": "sku", "type": "string"},
            {"name": "count", "type": "long"},
            {"name": "cents", "type": "long"}
        ]}}}
    ]}"#;
}

impl Order {
    /// Make an order of about so many bytes of JSON.
    #[must_use]
    pub fn of_about(bytes: usize) -> Self {
        /// An article in JSON, and what is around the articles.
        const ARTICLE: usize = 50;
        const REST: usize = 70;
        let articles = ((bytes.saturating_sub(REST) + ARTICLE / 2) / ARTICLE).max(1) as u64;
        Self {
            order_id: "order-0000004711".to_owned(),
            placed_at: 1_760_000_000_000,
            articles: (0..articles).map(Article::nth).collect(),
        }
    }
}

impl Article {
    fn nth(number: u64) -> Self {
        // As different from each other as articles are.
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            sku: format!("{:08x}-{}", hash >> 32, hash % 1000),
            count: 1 + (hash % 9) as i64,
            cents: 100 + (hash % 90_000) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn orders_have_about_the_size_that_is_asked_for() {
        for bytes in [200, 2_048, 65_536, 1 << 20] {
            let length = serde_json::to_vec(&Order::of_about(bytes)).unwrap().len();
            assert!(
                (bytes * 8 / 10..bytes * 12 / 10).contains(&length),
                "{bytes}: {length}"
            );
        }
    }
}
