//! What keeps a schema from being had.

use std::borrow::Cow;

use super::wire::SchemaId;

/// The schema of a payload cannot be had, or is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No server of the registry gave an answer. Tried again, for as long as it takes: the message is not at fault.
    #[error("the schema registry cannot be asked for {wanted}: {reason}; see the settings `schema_registry`")]
    Unavailable {
        /// What it was asked for.
        wanted: String,
        /// What came of it, server by server.
        reason: String,
    },
    /// The registry says that there is no such schema.
    #[error("the schema registry has no {wanted}")]
    Unknown {
        /// What it was asked for.
        wanted: String,
    },
    /// The registry has the schema, and nothing can be read by it.
    #[error("{schema} cannot be used: {reason}")]
    Unusable {
        /// Which one.
        schema: String,
        /// Why.
        reason: String,
    },
    /// The message does not say its schema as serializers of a schema registry do.
    #[error("{what}")]
    Malformed {
        /// What is wrong with it.
        what: Cow<'static, str>,
    },
}

impl RegistryError {
    /// Say whether trying again can help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed { what: what.into() }
    }

    pub(super) fn unusable(schema: SchemaId, reason: impl ToString) -> Self {
        Self::Unusable {
            schema: schema.to_string(),
            reason: reason.to_string(),
        }
    }
}
