//! What athomic keeps outside the broker, behind traits: one implementation in memory, others in
//! crates of their own.

mod error;
pub mod memory;
pub mod ordering;

pub use error::StoreError;
