//! Stores in the memory of the process.
