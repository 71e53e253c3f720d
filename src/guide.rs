#![doc = include_str!("../docs/guide.md")]

#[doc = include_str!("../docs/ordered.md")]
pub mod ordered {}

#[doc = include_str!("../docs/retries.md")]
pub mod retries {}
