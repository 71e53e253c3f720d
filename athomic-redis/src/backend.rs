//! How `provider.backend = "redis"` in the settings finds this crate.

use std::sync::Arc;

use athomic_core::store::OrderingBackend;

use crate::RedisOrdering;

inventory::submit! {
    OrderingBackend {
        name: "redis",
        connect: |settings, scope| Ok(Arc::new(RedisOrdering::connect(settings, scope)?)),
    }
}
