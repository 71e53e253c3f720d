//! Consuming: from registrations and settings to running lanes.

mod processor;

pub use processor::MessageProcessor;
