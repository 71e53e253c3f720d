//! How `provider.backend = "kafka"` in the settings finds this crate.

use std::sync::Arc;

use athomic_core::transport::TransportBackend;

use crate::KafkaTransport;

inventory::submit! {
    TransportBackend {
        name: "kafka",
        connect: |settings, connection| Ok(Arc::new(KafkaTransport::connect(settings, connection)?)),
    }
}
