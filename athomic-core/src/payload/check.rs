//! Looks at the start, before the first message is read, whether what the steps need can be used.

use std::sync::Arc;

use super::build::Payloads;
use super::step::StepError;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};

/// A step cannot do its part, and it is known before any message needs it.
#[derive(Debug, thiserror::Error)]
#[error("payloads cannot pass the step `{step}`")]
pub(super) struct UnfitStep {
    /// The step's name in the settings.
    pub(super) step: Arc<str>,
    /// Why, and what to change.
    pub(super) source: StepError,
}

/// Checks the steps that wait for something.
pub(crate) struct PayloadCheck(pub(super) Arc<Payloads>);

impl Service for PayloadCheck {
    fn name(&self) -> &str {
        "payload steps"
    }

    /// After the check of topics, before consumers.
    fn priority(&self) -> i32 {
        -80
    }

    async fn start(&self, _: ServiceHandle) -> Result<(), ServiceError> {
        for pipeline in self.0.pipelines() {
            pipeline.check().await?;
        }
        Ok(())
    }
}
