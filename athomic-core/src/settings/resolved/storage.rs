//! What the settings say about the store of large payloads.

use std::path::PathBuf;

use crate::settings::choice::choice;

/// Where large payloads are kept, for the step `claim_check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageSettings {
    /// The kind of store. Default [`StorageBackend::Memory`].
    pub backend: StorageBackend,
    /// The folder, for [`StorageBackend::Local`].
    pub base_path: Option<PathBuf>,
}

choice! {
    /// The kind of store for large payloads.
    #[derive(Default)]
    pub enum StorageBackend {
        /// In the process, with which it ends; for tests.
        #[default]
        Memory = "memory",
        /// A folder, which all programs that read the payloads have to see.
        Local = "local",
    }
    not built: ["s3", "gcs", "azure"]
}
