//! Stores in the memory of the process.

mod clock;
mod ordering;

pub use clock::StoreClock;
pub use ordering::MemoryOrdering;
