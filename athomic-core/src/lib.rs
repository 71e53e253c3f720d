//! Runtime of athomic; knows no broker and no database.

pub(crate) mod nearest;
pub mod settings;
