//! What athomic keeps outside the broker, behind traits: one implementation in memory, others in
//! crates of their own.

mod backend;
pub mod delay;
mod error;
pub mod idempotency;
pub mod key_value;
pub mod memory;
pub mod ordering;
mod space;

pub use backend::{
    ConnectDelays, ConnectIdempotency, ConnectKeyValue, ConnectOrdering, DelayStoreBackend,
    IdempotencyBackend, IdempotencyStores, KeyValueBackend, KeyValueSettings, OrderingBackend, Scope,
    delay_store_backend, idempotency_backend, key_value_backend, ordering_backend,
};
pub use error::StoreError;
pub use space::KeySpace;
