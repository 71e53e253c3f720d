//! Payloads: limits, and the lists of steps. What the steps mean is for [`crate::payload`] to say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::values::carries_a_secret;
use super::{Resolver, value_or};
use crate::settings::error::{Fault, Problem};
use crate::settings::raw::{RawCrypto, RawPayload, RawPipeline, RawStep, RawStorage};
use crate::settings::resolved::{
    CryptoAlgorithm, CryptoSettings, KeySettings, MessagingSettings, PayloadSettings, PipelineSettings,
    StepSettings, StorageSettings,
};
use crate::settings::schema::CRYPTO;
use crate::settings::tree::join;

impl Resolver<'_> {
    pub(super) fn payload(&mut self, raw: &RawPayload) -> PayloadSettings {
        let default = PayloadSettings::default();
        let mut topics = BTreeMap::new();
        for (topic, pipeline) in &raw.topics {
            topics.insert(topic.clone(), self.pipeline(pipeline));
        }
        PayloadSettings {
            max_decoded_bytes: self.count(&raw.keys.max_decoded_bytes, default.max_decoded_bytes),
            max_ratio: self.count(&raw.keys.max_ratio, default.max_ratio),
            pipeline: raw.pipeline.as_ref().map(|pipeline| self.pipeline(pipeline)),
            topics,
        }
    }

    pub(super) fn pipeline(&mut self, raw: &RawPipeline) -> PipelineSettings {
        PipelineSettings {
            steps: raw.steps.iter().map(|step| self.step(step)).collect(),
            key: raw.key.clone(),
            origin: raw.origin.clone(),
        }
    }

    /// Read the keys. Their secrets are fetched only if a pipeline encrypts, so that nobody else needs them.
    pub(super) fn crypto(&mut self, raw: &RawCrypto, messaging: &MessagingSettings) -> CryptoSettings {
        self.fetch_secrets = messaging.names_step("crypto");
        let mut keys = Vec::new();
        for (index, (key, origin)) in raw.ring.iter().enumerate() {
            let at = |name: &str| format!("{CRYPTO}.keys.{index}.{name}");
            if key.id.is_none() {
                let problem = Problem::missing("a key has an id, such as \"2026-11\"");
                self.faults.push(Fault::new(at("id"), origin, problem));
            }
            if key.secret.is_none() {
                let problem = Problem::missing("the key itself, such as { env = \"ATHOMIC_KEY\" }");
                self.faults.push(Fault::new(at("secret"), origin, problem));
            }
            let secret = self.secret(&key.secret);
            if let (Some(id), Some(secret)) = (self.text(&key.id), secret) {
                let wrapped_by = self.text(&key.wrapped_by);
                keys.push(KeySettings {
                    id,
                    secret,
                    wrapped_by,
                });
            }
        }
        CryptoSettings {
            algorithm: self.choice(&raw.keys.algorithm, CryptoAlgorithm::default()),
            active_key: self.text(&raw.keys.active_key),
            keys,
        }
    }

    /// Read where large payloads are kept. The secret is fetched only if a pipeline puts some there.
    pub(super) fn storage(&mut self, raw: &RawStorage, messaging: &MessagingSettings) -> StorageSettings {
        let default = StorageSettings::default();
        self.fetch_secrets = messaging.names_step("claim_check");
        StorageSettings {
            backend: self.choice(&raw.backend, default.backend),
            base_path: self.text(&raw.base_path).map(PathBuf::from),
            bucket: self.text(&raw.bucket),
            region: self.text(&raw.region),
            endpoint: self.text(&raw.endpoint),
            account: self.text(&raw.account),
            access_key_id: self.text(&raw.access_key_id),
            secret: self.secret(&raw.secret),
            allow_http: value_or(&raw.allow_http, default.allow_http),
            check_at_start: value_or(&raw.check_at_start, default.check_at_start),
        }
    }

    fn step(&mut self, raw: &RawStep) -> StepSettings {
        if raw.keys.step.is_none() {
            let problem = Problem::missing("an item of the pipeline names its step, such as \"serializer\"");
            self.faults
                .push(Fault::new(join(&raw.key, "step"), &raw.origin, problem));
        }
        let written = raw.keys.settings.iter().flat_map(|written| &written.value);
        for (_, written) in written.clone().filter(|(name, _)| carries_a_secret(name)) {
            let reason = "settings of steps are shown, so they hold no secrets; keys stand in `security.crypto`, \
                          other secrets are for the code that registers the step";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        StepSettings {
            step: self.text(&raw.keys.step).unwrap_or_default(),
            settings: written
                .clone()
                .map(|(name, written)| (plain(name), written.value.clone()))
                .collect(),
            key: raw.key.clone(),
            origin: raw
                .keys
                .step
                .as_ref()
                .map_or_else(|| raw.origin.clone(), |step| step.origin.clone()),
            origins: written
                .map(|(name, written)| (plain(name), written.origin.clone()))
                .collect(),
        }
    }
}

/// Return the name of a step's setting: environment variables give dots for `_`, as the client library's options
/// want it.
fn plain(name: &str) -> String {
    name.replace('.', "_")
}
