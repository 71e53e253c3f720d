//! The store of the step `claim_check`, as `storage.provider` names it.

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;

use crate::settings::{StorageBackend, StorageSettings};

/// A store of objects, and what people call it.
#[derive(Clone)]
pub(in crate::payload) struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Such as `the bucket "claims" of s3`.
    pub(super) place: Arc<str>,
    /// Whether it is looked at before the application is at work.
    pub(super) is_checked: bool,
}

/// Without the store, whose parts know secrets.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.place).finish()
    }
}

/// A setting that keeps a store from being opened.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::payload) struct StoreFault {
    /// The key below `storage.provider`.
    pub(in crate::payload) key: &'static str,
    /// Why, and what to change.
    pub(in crate::payload) reason: String,
}

impl StoreFault {
    pub(super) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { key, reason }
    }
}

/// Open the store of the settings. Nobody is asked anything yet.
///
/// # Errors
/// Why it cannot be opened, and what to change.
pub(in crate::payload) fn open(settings: &StorageSettings) -> Result<Objects, StoreFault> {
    refuse_strangers(settings)?;
    let store: Arc<dyn ObjectStore> = match settings.backend {
        StorageBackend::Memory => Arc::new(object_store::memory::InMemory::new()),
        StorageBackend::Local => local(settings)?,
        #[cfg(feature = "claim-check-s3")]
        StorageBackend::S3 => super::cloud::s3(settings)?,
        #[cfg(feature = "claim-check-gcs")]
        StorageBackend::Gcs => super::cloud::gcs(settings)?,
        #[cfg(feature = "claim-check-azure")]
        StorageBackend::Azure => super::cloud::azure(settings)?,
        #[cfg(not(all(
            feature = "claim-check-s3",
            feature = "claim-check-gcs",
            feature = "claim-check-azure"
        )))]
        other => {
            return Err(StoreFault::new(
                "backend",
                format!(
                    "this program was built without `{other}`; add the feature: `cargo add athomic --features claim-check-{other}`"
                ),
            ));
        }
    };
    let bucket = settings.bucket.as_deref().unwrap_or_default();
    let place = match settings.backend {
        StorageBackend::Memory => "the store in memory".to_owned(),
        StorageBackend::Local => "the folder of `storage.provider.base_path`".to_owned(),
        StorageBackend::Azure => format!("the container `{bucket}`"),
        StorageBackend::S3 | StorageBackend::Gcs => format!("the bucket `{bucket}`"),
    };
    let is_of_a_cloud = !matches!(settings.backend, StorageBackend::Memory | StorageBackend::Local);
    Ok(Objects {
        store,
        place: place.into(),
        is_checked: is_of_a_cloud && settings.check_at_start,
    })
}

/// Refuse what another backend would take, and this one would not see.
fn refuse_strangers(settings: &StorageSettings) -> Result<(), StoreFault> {
    use StorageBackend::{Azure, Gcs, S3};
    let StorageSettings {
        bucket,
        region,
        endpoint,
        account,
        access_key_id,
        secret,
        ..
    } = settings;
    let keys: [(&'static str, bool, &[StorageBackend]); 7] = [
        ("bucket", bucket.is_some(), &[S3, Gcs, Azure]),
        ("region", region.is_some(), &[S3]),
        ("endpoint", endpoint.is_some(), &[S3, Gcs, Azure]),
        ("account", account.is_some(), &[Azure]),
        ("access_key_id", access_key_id.is_some(), &[S3]),
        ("secret", secret.is_some(), &[S3, Gcs, Azure]),
        ("allow_http", settings.allow_http, &[S3, Gcs, Azure]),
    ];
    let backend = settings.backend;
    for (key, is_set, takers) in keys {
        if is_set && !takers.contains(&backend) {
            let takers: Vec<String> = takers.iter().map(|taker| format!("`{taker}`")).collect();
            return Err(StoreFault::new(
                key,
                format!(
                    "has no effect with `backend = \"{backend}\"`; remove it, or use {}",
                    takers.join(", ")
                ),
            ));
        }
    }
    Ok(())
}

fn local(settings: &StorageSettings) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    let Some(path) = &settings.base_path else {
        let reason = "`backend = \"local\"` needs `base_path`, such as \"./.storage\"";
        return Err(StoreFault::new("base_path", reason));
    };
    let open = || {
        std::fs::create_dir_all(path)?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(path)?;
        Ok::<_, Box<dyn std::error::Error>>(store.with_fsync(true))
    };
    match open() {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => {
            let reason = format!("cannot keep objects in `{}`: {error}", path.display());
            Err(StoreFault::new("base_path", reason))
        }
    }
}

#[cfg(test)]
#[cfg(all(
    feature = "claim-check-s3",
    feature = "claim-check-gcs",
    feature = "claim-check-azure"
))]
mod tests;
