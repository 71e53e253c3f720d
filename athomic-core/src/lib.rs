//! Runtime of athomic; knows no broker and no database.
//!
//! Applications use it through the `athomic` crate. The modules below stand in reading order: a
//! message goes down the list from fetch to commit.

pub mod app;
pub mod health;
pub mod lifecycle;
pub mod settings;

pub mod consumer;

pub mod message;
pub mod transport;

pub mod context;
pub mod telemetry;

pub mod payload;

pub mod circuit_breaker;
pub mod idempotency;
pub mod ordering;
pub mod store;

pub mod handler;

pub mod outcome;

pub mod dead_letter;
pub mod retry;

pub mod commit;

pub mod publisher;

pub mod delay;
pub mod queue;

pub mod lineage;

#[doc(hidden)]
pub mod mutant;

mod hex;
pub(crate) mod nearest;
#[cfg(any(
    feature = "otel",
    feature = "lineage-http",
    feature = "schema-registry",
    feature = "claim-check-s3",
    feature = "claim-check-gcs",
    feature = "claim-check-azure"
))]
mod tls;

#[cfg(feature = "testing")]
pub mod testing;
