//! Lineage: the run that a message comes of.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Context;
use super::adapter::{ContextError, HeadersAdapter, Incoming};
use crate::message::Headers;

/// The header with the run that published the message, as JSON.
pub const LINEAGE: &str = "athomic-lineage";

/// How long the names of a job may be, in bytes.
const MAX_NAME: usize = 512;

/// A run of a job, as OpenLineage names it: what a run that comes of it calls its parent.
///
/// ```
/// use athomic_core::context::{Context, LineageRun};
///
/// let run = LineageRun::new("0190163d-8694-739b-aea5-966c26f8ad90", "orders", "import");
/// let context = Context::new().with_lineage(run);
/// assert_eq!(context.lineage().map(|run| run.job.as_str()), Some("import"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LineageRun {
    /// The run: a UUID.
    pub run: String,
    /// The namespace of its job.
    pub namespace: String,
    /// The name of its job.
    pub job: String,
}

impl LineageRun {
    /// Name a run of a job.
    pub fn new(run: impl Into<String>, namespace: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            namespace: namespace.into(),
            job: job.into(),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        let odd = |name: &String| name.is_empty() || name.chars().any(char::is_control);
        if Uuid::try_parse(&self.run).is_err() {
            Some("names a run by something that is no UUID")
        } else if self.namespace.len() > MAX_NAME || self.job.len() > MAX_NAME {
            Some("names a job with more than 512 bytes")
        } else if odd(&self.namespace) || odd(&self.job) {
            Some("names a job with nothing or a control character")
        } else {
            None
        }
    }
}

/// Takes the run that a message comes of from the header [`LINEAGE`] and carries it on.
#[derive(Debug, Clone, Copy)]
pub struct LineageAdapter;

impl HeadersAdapter for LineageAdapter {
    fn names(&self) -> &[&str] {
        &[LINEAGE]
    }

    fn extract(&self, message: &Incoming<'_>, context: &mut Context) {
        let Some(json) = message.text(LINEAGE) else { return };
        let Ok(run) = serde_json::from_str::<LineageRun>(json) else {
            return message.malformed(LINEAGE, "is not of the form `{\"run\", \"namespace\", \"job\"}`");
        };
        match run.fault() {
            None => *context = std::mem::take(context).with_lineage(run),
            Some(reason) => message.malformed(LINEAGE, reason),
        }
    }

    fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError> {
        let Some(run) = context.lineage() else {
            return Ok(());
        };
        if let Some(reason) = run.fault() {
            return Err(ContextError::new("lineage", reason));
        }
        let json = serde_json::to_vec(run).expect("an id and names have a JSON form");
        headers.set(LINEAGE, json);
        Ok(())
    }
}
