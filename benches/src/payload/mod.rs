//! The bench of the payload pipeline: each step beside the library that it is made of.

pub mod cases;
pub mod compare;
pub mod order;
