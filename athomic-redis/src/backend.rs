//! How `provider.backend = "redis"` in the settings finds this crate.

use std::sync::Arc;

use athomic_core::store::{
    DelayStoreBackend, IdempotencyBackend, IdempotencyStores, KeyValueBackend, OrderingBackend,
};

use crate::server::Server;
use crate::{RedisDelays, RedisIdempotency, RedisKeyValue, RedisOrdering};

inventory::submit! {
    OrderingBackend {
        name: "redis",
        connect: |settings, scope| Ok(Arc::new(RedisOrdering::connect(settings, scope)?)),
    }
}

inventory::submit! {
    IdempotencyBackend {
        name: "redis",
        connect: |settings| {
            let server = Arc::new(Server::new(settings)?);
            Ok(IdempotencyStores::new(move |space| Arc::new(RedisIdempotency::on(&server, space))))
        },
    }
}

inventory::submit! {
    KeyValueBackend {
        name: "redis",
        connect: |settings, space| Ok(Arc::new(RedisKeyValue::connect(settings, &space)?)),
    }
}

inventory::submit! {
    DelayStoreBackend {
        name: "redis",
        connect: |settings, space| Ok(Arc::new(RedisDelays::connect(settings, &space)?)),
    }
}
