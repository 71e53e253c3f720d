//! Handlers in a crate of their own. `tests/handlers.rs` finds them.

use athomic::prelude::*;

/// Consume what the application itself knows nothing of.
#[subscribe_to(topic = "audit.v1", group_id = "audit")]
pub async fn on_audit(_entry: String) {}
