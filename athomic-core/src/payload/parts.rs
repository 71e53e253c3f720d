//! What the steps that are built in share: the keys, and the store of large payloads. Made only if a pipeline
//! names the step, once for all pipelines of the application; and the schema registry, if the settings have one.

use std::marker::PhantomData;
#[cfg(any(feature = "crypto", feature = "schema-registry"))]
use std::sync::Arc;

use super::build::{CLAIM_CHECK, CRYPTO, PayloadSteps, StepOptions};
use super::step::Step;
use crate::settings::{Fault, Origin, Problem, Settings};

pub(super) struct Parts<'a> {
    #[cfg(feature = "crypto")]
    crypto: Option<(&'a Settings, Arc<dyn super::crypto::KeyProvider>)>,
    #[cfg(feature = "claim-check")]
    store: Option<super::claim_check::Objects>,
    #[cfg(feature = "schema-registry")]
    pub(super) registry: Option<Arc<super::registry::SchemaRegistry>>,
    settings: PhantomData<&'a Settings>,
}

impl<'a> Parts<'a> {
    /// Make what the pipelines need; with all that is wrong with it.
    #[cfg_attr(
        not(all(feature = "crypto", feature = "claim-check", feature = "schema-registry")),
        allow(unused_variables, unused_mut, reason = "what the program has not is not made")
    )]
    pub(super) fn new(settings: &'a Settings, steps: &PayloadSteps) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let registry = registry(settings).map_err(|mut found| faults.append(&mut found));
        let parts = Self {
            #[cfg(feature = "crypto")]
            crypto: (settings.messaging.names_step(CRYPTO))
                .then(|| {
                    keys(settings, steps)
                        .map_err(|mut found| faults.append(&mut found))
                        .ok()
                })
                .flatten()
                .map(|keys| (settings, keys)),
            #[cfg(feature = "claim-check")]
            store: (settings.messaging.names_step(CLAIM_CHECK))
                .then(|| {
                    store(settings)
                        .map_err(|mut found| faults.append(&mut found))
                        .ok()
                })
                .flatten(),
            #[cfg(feature = "schema-registry")]
            registry: registry.ok().flatten(),
            settings: PhantomData,
        };
        (parts, faults)
    }

    /// Make the step `crypto`; none if its keys are wrong, which is told already.
    pub(super) fn crypto(&self, options: &mut StepOptions<'_>) -> Option<Step> {
        #[cfg(feature = "crypto")]
        return super::crypto::step(
            options,
            self.crypto.as_ref().map(|(settings, keys)| (*settings, keys)),
        );
        #[cfg(not(feature = "crypto"))]
        options.not_built_in(CRYPTO, "crypto")
    }

    /// Make the step `claim_check`; none if its store is wrong, which is told already.
    pub(super) fn claim_check(&self, options: &mut StepOptions<'_>) -> Option<Step> {
        #[cfg(feature = "claim-check")]
        return super::claim_check::step(options, self.store.as_ref());
        #[cfg(not(feature = "claim-check"))]
        options.not_built_in(CLAIM_CHECK, "claim-check")
    }
}

/// Make the schema registry, if the settings have one.
#[cfg(feature = "schema-registry")]
fn registry(settings: &Settings) -> Result<Option<Arc<super::registry::SchemaRegistry>>, Vec<Fault>> {
    if settings.schema_registry.urls.is_empty() {
        return Ok(None);
    }
    let registry = super::registry::SchemaRegistry::new(&settings.schema_registry);
    let registry = registry.map_err(|error| registry_fault(settings, error.to_string()))?;
    Ok(Some(Arc::new(registry)))
}

#[cfg(not(feature = "schema-registry"))]
fn registry(settings: &Settings) -> Result<(), Vec<Fault>> {
    if settings.schema_registry.urls.is_empty() {
        return Ok(());
    }
    let reason =
        "this program was built without it; add the feature: `cargo add athomic --features schema-registry`";
    Err(registry_fault(settings, reason.to_owned()))
}

fn registry_fault(settings: &Settings, reason: String) -> Vec<Fault> {
    let key = ["schema_registry.ca_file", "schema_registry.urls"]
        .into_iter()
        .find(|key| settings.origin(key).is_some())
        .unwrap_or("schema_registry.urls");
    let origin = settings.origin(key).unwrap_or(Origin::Code { location: None });
    vec![Fault::new(key, &origin, Problem::invalid(reason))]
}

#[cfg(feature = "crypto")]
fn keys(
    settings: &Settings,
    steps: &PayloadSteps,
) -> Result<Arc<dyn super::crypto::KeyProvider>, Vec<Fault>> {
    match &steps.keys {
        Some(keys) => Ok(Arc::clone(keys)),
        None => Ok(Arc::new(super::crypto::KeyRing::of(settings)?)),
    }
}

#[cfg(feature = "claim-check")]
fn store(settings: &Settings) -> Result<super::claim_check::Objects, Vec<Fault>> {
    super::claim_check::open(&settings.storage).map_err(|super::claim_check::StoreFault { key, reason }| {
        let key = format!("storage.provider.{key}");
        let origin = settings
            .origin(&key)
            .or_else(|| settings.origin("storage.provider.backend"))
            .unwrap_or(Origin::BuiltIn);
        vec![Fault::new(key, &origin, Problem::invalid(reason))]
    })
}
