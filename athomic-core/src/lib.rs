//! Runtime of athomic; knows no broker and no database.
//!
//! Applications use it through the `athomic` crate. The modules below stand in reading order: a
//! message goes down the list from fetch to commit.

pub mod message;
pub mod transport;

pub mod payload;

pub mod handler;

pub mod outcome;

pub mod consumer;

pub mod publisher;

pub(crate) mod nearest;
pub mod settings;

#[cfg(feature = "testing")]
pub mod testing;
