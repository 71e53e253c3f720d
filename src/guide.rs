#![doc = include_str!("../docs/guide.md")]

#[doc = include_str!("../docs/ordered.md")]
pub mod ordered {}

#[doc = include_str!("../docs/retries.md")]
pub mod retries {}

#[doc = include_str!("../docs/delayed.md")]
pub mod delayed {}

#[doc = include_str!("../docs/idempotency.md")]
pub mod idempotency {}

#[doc = include_str!("../docs/context.md")]
pub mod context {}

#[doc = include_str!("../docs/telemetry.md")]
pub mod telemetry {}

#[doc = include_str!("../docs/payloads.md")]
pub mod payloads {}

#[doc = include_str!("../docs/lineage.md")]
pub mod lineage {}

#[doc = include_str!("../docs/queue.md")]
pub mod queue {}
