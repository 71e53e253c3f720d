//! What the settings say about the store of large payloads.

use std::path::PathBuf;

use crate::settings::choice::choice;
use crate::settings::secret::Secret;

/// Where large payloads are kept, for the step `claim_check`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageSettings {
    /// The kind of store. Default [`StorageBackend::Memory`].
    pub backend: StorageBackend,
    /// The folder, for [`StorageBackend::Local`].
    pub base_path: Option<PathBuf>,
    /// The bucket, or on Azure the container.
    pub bucket: Option<String>,
    /// The region of the bucket, for [`StorageBackend::S3`].
    pub region: Option<String>,
    /// Where the service is, if it is not the provider's own.
    pub endpoint: Option<String>,
    /// The storage account, for [`StorageBackend::Azure`].
    pub account: Option<String>,
    /// The id of the access key, for [`StorageBackend::S3`].
    pub access_key_id: Option<String>,
    /// What proves who asks: the secret access key, the service account's key file, the account's key. Without it
    /// the environment says who asks.
    pub secret: Option<Secret>,
    /// Whether the endpoint may be spoken to in the clear; only on this machine. Default `false`.
    pub allow_http: bool,
    /// Whether an object is written and read before the application is at work. Default `true`.
    pub check_at_start: bool,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            backend: StorageBackend::default(),
            base_path: None,
            bucket: None,
            region: None,
            endpoint: None,
            account: None,
            access_key_id: None,
            secret: None,
            allow_http: false,
            check_at_start: true,
        }
    }
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
        /// A bucket of Amazon S3, or of what speaks its protocol; needs the feature `claim-check-s3`.
        S3 = "s3",
        /// A bucket of Google Cloud Storage; needs the feature `claim-check-gcs`.
        Gcs = "gcs",
        /// A container of Azure Blob Storage; needs the feature `claim-check-azure`.
        Azure = "azure",
    }
    not built: []
}
