//! Payloads: limits, and the lists of steps. What the steps mean is for [`crate::payload`] to say.

use std::collections::BTreeMap;

use super::Resolver;
use super::values::carries_a_secret;
use crate::settings::error::{Fault, Problem};
use crate::settings::raw::{RawPayload, RawPipeline, RawStep};
use crate::settings::resolved::{PayloadSettings, PipelineSettings, StepSettings};
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
                .map(|(name, written)| (name.clone(), written.value.clone()))
                .collect(),
            key: raw.key.clone(),
            origin: raw
                .keys
                .step
                .as_ref()
                .map_or_else(|| raw.origin.clone(), |step| step.origin.clone()),
            origins: written
                .map(|(name, written)| (name.clone(), written.origin.clone()))
                .collect(),
        }
    }
}
