//! Backends by URL.

use std::sync::{Arc, LazyLock};

use super::{MessageQueueBackend, QueueError, TopicQueue};
use crate::settings::Settings;
use crate::transport::memory::MemoryBroker;

/// A kind of queue that URLs can name. A crate of queues submits one with `inventory`.
#[derive(Debug)]
pub struct QueueScheme {
    /// What its URLs begin with, before `://`.
    pub schemes: &'static [&'static str],
    /// Makes the backend of a URL. Opens no connection.
    pub load: fn(&str) -> Result<Arc<dyn MessageQueueBackend>, QueueError>,
}

inventory::collect!(QueueScheme);

/// Make the backend that a URL names; see the [module](super) for the kinds. Opens no connection.
///
/// # Errors
/// [`QueueError::Url`]: the URL is wrong, or its kind is not in this program.
pub fn load_backend(url: &str) -> Result<Arc<dyn MessageQueueBackend>, QueueError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(wrong("the URL has no scheme".to_owned()));
    };
    match scheme {
        "memory" => memory(rest),
        "kafka" => kafka(rest),
        _ => {
            let mut known = inventory::iter::<QueueScheme>();
            match known.find(|kind| kind.schemes.contains(&scheme)) {
                Some(kind) => (kind.load)(url),
                None => Err(wrong(format!(
                    "this program has no queues of the kind `{scheme}`"
                ))),
            }
        }
    }
}

fn wrong(reason: String) -> QueueError {
    QueueError::Url {
        reason,
        remedy: "write `memory://TOPIC`, `kafka://HOST:PORT/TOPIC` (feature `kafka`) or `redis://HOST:PORT/STREAM` \
                 (feature `redis`)"
            .to_owned(),
    }
}

/// Those who name the same topic meet, wherever in the process they are.
static BROKER: LazyLock<MemoryBroker> = LazyLock::new(MemoryBroker::new);

fn memory(topic: &str) -> Result<Arc<dyn MessageQueueBackend>, QueueError> {
    if topic.is_empty() || topic.contains('/') {
        return Err(wrong("`memory://` is followed by a topic".to_owned()));
    }
    Ok(Arc::new(TopicQueue::new(
        Settings::default(),
        BROKER.clone(),
        topic,
    )))
}

fn kafka(rest: &str) -> Result<Arc<dyn MessageQueueBackend>, QueueError> {
    let (servers, topic) = rest.split_once('/').unwrap_or((rest, ""));
    let servers: Vec<_> = servers.split(',').filter(|server| !server.is_empty()).collect();
    if servers.is_empty() || topic.is_empty() || topic.contains('/') {
        return Err(wrong("`kafka://` is followed by servers and a topic".to_owned()));
    }
    let none: [(&str, &str); 0] = [];
    let loader = Settings::loader()
        .text("queue.toml", "integration.messaging.provider.backend = \"kafka\"")
        .environment(none)
        .set("integration.messaging.consumer.bootstrap_servers", servers);
    let loaded = loader.load().map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(TopicQueue::new(
        loaded.settings,
        MemoryBroker::new(),
        topic,
    )))
}
