//! What the settings say about the schema registry.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::secret::Secret;

/// The schema registry: section `schema_registry`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaRegistrySettings {
    /// Its servers, asked in turn; without any there is no registry.
    pub urls: Vec<String>,
    /// The user and his password, for HTTP Basic authentication.
    pub user: Option<(String, Secret)>,
    /// The bearer token.
    pub token: Option<Secret>,
    /// The certificates by which the servers are known; none are the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one server may take for an answer. Default 5 s.
    pub timeout: Duration,
    /// How many schemas are kept. Default 1000.
    pub cache_size: NonZeroUsize,
}

impl Default for SchemaRegistrySettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            user: None,
            token: None,
            ca_file: None,
            timeout: Duration::from_secs(5),
            cache_size: const { NonZeroUsize::new(1000).expect("not zero") },
        }
    }
}
