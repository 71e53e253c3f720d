//! What athomic keeps outside the broker, behind traits: one implementation in memory, others in
//! crates of their own.

mod backend;
mod error;
pub mod memory;
pub mod ordering;

pub use backend::{ConnectOrdering, KeyValueSettings, OrderingBackend, Scope, ordering_backend};
pub use error::StoreError;
