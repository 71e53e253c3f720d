//! How a lane's messages are run: one after the other, side by side by key, or in batches.

pub(super) mod batch;
pub(super) mod keyed;
pub(super) mod single;
pub(super) mod slots;
