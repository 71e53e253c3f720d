//! What the settings say about payloads: the steps between a value and the bytes of a record.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::MessagingSettings;
use crate::settings::error::{Fault, Origin, Problem};
use crate::settings::tree::join;

/// How payloads are written and read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PayloadSettings {
    /// The largest payload, in bytes, that a step may make of what was fetched. Default 16 MiB.
    pub max_decoded_bytes: NonZeroUsize,
    /// How many times larger than the fetched bytes a payload may become, once it is over 1 MiB. Default 1000.
    pub max_ratio: NonZeroUsize,
    /// The steps for all topics that have none of their own; nothing means JSON alone.
    pub pipeline: Option<PipelineSettings>,
    /// The steps of single topics.
    pub topics: BTreeMap<String, PipelineSettings>,
}

impl Default for PayloadSettings {
    fn default() -> Self {
        Self {
            max_decoded_bytes: const { NonZeroUsize::new(16 << 20).expect("not zero") },
            max_ratio: const { NonZeroUsize::new(1000).expect("not zero") },
            pipeline: None,
            topics: BTreeMap::new(),
        }
    }
}

impl MessagingSettings {
    /// Say whether any pipeline names a step.
    pub(crate) fn names_step(&self, name: &str) -> bool {
        let tuned = self
            .handler_tuning
            .iter()
            .filter_map(|tuning| tuning.pipeline.as_ref());
        let topics = self.payload.topics.values();
        let mut pipelines = self.payload.pipeline.iter().chain(topics).chain(tuned);
        pipelines.any(|pipeline| pipeline.steps.iter().any(|step| step.step == name))
    }
}

/// A list of steps: encoding runs down, decoding runs up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineSettings {
    /// The steps.
    pub steps: Vec<StepSettings>,
    /// The path of the list, for messages.
    pub(crate) key: String,
    /// Where it was written.
    pub(crate) origin: Origin,
}

impl PipelineSettings {
    /// List steps in code.
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = StepSettings>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            key: "integration.messaging.payload.pipeline".to_owned(),
            origin: Origin::Code { location: None },
        }
    }

    /// Say what is wrong with the list.
    pub(crate) fn fault(&self, reason: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
        Fault::new(self.key.as_str(), &self.origin, Problem::invalid(reason))
    }
}

/// One step and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSettings {
    /// Its name: `serializer`, `compression`, `crypto`, `claim_check`, or one that the application has registered.
    pub step: String,
    /// Its settings, as text.
    pub settings: BTreeMap<String, String>,
    /// The path of the step, for messages.
    pub(crate) key: String,
    /// Where the step was written.
    pub(crate) origin: Origin,
    /// Where its settings were written.
    pub(crate) origins: BTreeMap<String, Origin>,
}

impl StepSettings {
    /// Name a step in code.
    #[must_use]
    pub fn new(step: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            settings: BTreeMap::new(),
            key: "integration.messaging.payload.pipeline".to_owned(),
            origin: Origin::Code { location: None },
            origins: BTreeMap::new(),
        }
    }

    /// Set one of its settings.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.insert(name.into(), value.to_string());
        self
    }

    /// Say what is wrong with the step.
    pub(crate) fn fault(&self, problem: Problem) -> Fault {
        Fault::new(join(&self.key, "step"), &self.origin, problem)
    }

    /// Say what is wrong with one of its settings.
    pub(crate) fn fault_in(&self, name: &str, problem: Problem) -> Fault {
        let origin = self.origins.get(name).unwrap_or(&self.origin);
        Fault::new(join(&join(&self.key, "settings"), name), origin, problem)
    }
}
