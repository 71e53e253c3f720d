//! Lineage events in a topic.

use std::sync::Arc;

use super::{LineageStore, LineageStoreError};
use crate::lineage::LineageEvent;
use crate::publisher::{NewMessage, Publisher};

/// Publishes each event as JSON under the id of its run, so that a run's events keep their order.
#[derive(Debug)]
pub struct TopicStore {
    publisher: Publisher,
    topic: String,
}

impl TopicStore {
    /// Publish to a topic.
    #[must_use]
    pub fn new(publisher: Publisher, topic: impl Into<String>) -> Self {
        Self {
            publisher,
            topic: topic.into(),
        }
    }
}

impl LineageStore for TopicStore {
    fn name(&self) -> &str {
        "topic"
    }

    async fn write(&self, events: &[Arc<LineageEvent>]) -> Result<(), LineageStoreError> {
        let messages = events
            .iter()
            .map(|event| NewMessage::json(self.topic.as_str(), event.as_ref()).key(event.run.run_id.clone()));
        let results = self.publisher.publish_batch(messages).await;
        let mut written = 0;
        for result in results {
            match result {
                Ok(_) => written += 1,
                Err(error) if error.is_retriable() => {
                    return Err(LineageStoreError::retriable(written, error));
                }
                Err(error) => return Err(LineageStoreError::refused(written, error)),
            }
        }
        Ok(())
    }
}
