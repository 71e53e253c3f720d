//! What athomic keeps outside the broker, behind traits: one implementation in memory, others in
//! crates of their own.

mod backend;
mod error;
pub mod idempotency;
pub mod key_value;
pub mod memory;
pub mod ordering;
mod space;

pub use backend::{
    ConnectIdempotency, ConnectKeyValue, ConnectOrdering, IdempotencyBackend, IdempotencyStores,
    KeyValueBackend, KeyValueSettings, OrderingBackend, Scope, idempotency_backend, key_value_backend,
    ordering_backend,
};
pub use error::StoreError;
pub use space::KeySpace;
