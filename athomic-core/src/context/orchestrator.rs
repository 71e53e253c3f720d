//! `HeadersOrchestrator`: the adapters, in their order.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::adapter::{ContextError, HeadersAdapter, Incoming};
use super::{Context, ContextAdapter, LineageAdapter, MessagingTelemetryAdapter, Propagation, current};
use crate::dead_letter;
use crate::dead_letter::headers::{is_of_dead_letter, is_of_retry};
use crate::handler::Priority;
use crate::message::{Headers, RESERVED, RawMessage};
use crate::settings::ContextSettings;

/// Restores contexts from messages and puts them on messages: telemetry first, then lineage, then the
/// application's fields, then the application's own adapters in the order in which they were added.
#[derive(Debug, Clone)]
pub struct HeadersOrchestrator {
    adapters: Arc<[Arc<dyn HeadersAdapter>]>,
    untrusted_topics: Arc<[String]>,
    /// How many headers, or parts of them, were malformed.
    dropped: Arc<AtomicU64>,
}

/// Adapters of the application's own claim headers that are not theirs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterNamesError {
    /// The name is the framework's.
    #[error(
        "a headers adapter of the application claims `{name}`; names that begin with `athomic-` or `__dlq.` are reserved, \
         choose another"
    )]
    Reserved {
        /// The name.
        name: String,
    },
    /// Another adapter has the name.
    #[error("two headers adapters claim `{name}`; a header belongs to one adapter")]
    Twice {
        /// The name.
        name: String,
    },
}

impl HeadersOrchestrator {
    /// Take the built-in adapters, as the settings say, and the application's own.
    ///
    /// # Errors
    /// Own adapters claim headers that belong to others.
    pub fn new(
        settings: &ContextSettings,
        own: Vec<Arc<dyn HeadersAdapter>>,
    ) -> Result<Self, AdapterNamesError> {
        Self::propagating(settings, own, Propagation::default())
    }

    /// The same, with only some of the headers of traces.
    pub(crate) fn propagating(
        settings: &ContextSettings,
        own: Vec<Arc<dyn HeadersAdapter>>,
        propagation: Propagation,
    ) -> Result<Self, AdapterNamesError> {
        let built_in: [Arc<dyn HeadersAdapter>; 3] = [
            Arc::new(MessagingTelemetryAdapter::from(propagation)),
            Arc::new(LineageAdapter),
            Arc::new(ContextAdapter::new(&settings.propagate)),
        ];
        check_names(&built_in, &own)?;
        Ok(Self {
            adapters: built_in.into_iter().chain(own).collect(),
            untrusted_topics: settings.untrusted_topics.clone().into(),
            dropped: Arc::default(),
        })
    }

    /// Take the context from the headers of a message.
    #[must_use]
    pub fn restore(&self, message: &RawMessage) -> Context {
        let mut context = Context::new();
        if self.is_trusted(message) {
            let incoming = Incoming::new(message, &self.dropped);
            for adapter in self.adapters.iter() {
                adapter.extract(&incoming, &mut context);
            }
        }
        context
    }

    /// Put a context on a message that is about to be published. Of the framework's headers only those stay
    /// that come of this context; for others the context goes before what was set by hand.
    ///
    /// # Errors
    /// The context holds something that a message cannot carry.
    pub fn inject(&self, context: &Context, headers: &mut Headers) -> Result<(), ContextError> {
        let names = self.adapters.iter().flat_map(|adapter| adapter.names());
        for name in names.filter(|name| name.starts_with(RESERVED)) {
            headers.remove(name);
        }
        if context.is_empty() {
            return Ok(());
        }
        let mut adapters = self.adapters.iter();
        adapters.try_for_each(|adapter| adapter.inject(context, headers))
    }

    /// Return how many headers, or parts of them, were malformed so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Run something in the context of a message, which is restored if somebody asks for it.
    pub(crate) fn scope<F: Future>(
        self: &Arc<Self>,
        message: &RawMessage,
        run: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        current::of(message, self, run)
    }

    /// Say whether the message may bring a context. A dead letter is as trustworthy as the topic that its
    /// message failed in.
    fn is_trusted(&self, message: &RawMessage) -> bool {
        let is_untrusted = |topic: &str| self.untrusted_topics.iter().any(|name| means(name, topic));
        self.untrusted_topics.is_empty()
            || !(is_untrusted(message.topic())
                || dead_letter::failed_in(message).is_some_and(|topic| is_untrusted(&topic)))
    }
}

/// The built-in adapters, as the settings say if nobody writes any.
impl Default for HeadersOrchestrator {
    fn default() -> Self {
        let built_in = Self::new(&ContextSettings::default(), Vec::new());
        built_in.expect("the built-in adapters agree")
    }
}

/// Say whether a name of the settings means a topic, or the one of which it is the priority topic.
fn means(name: &str, topic: &str) -> bool {
    if let Some(beginning) = name.strip_suffix('*') {
        return topic.starts_with(beginning);
    }
    let Some(rest) = topic.strip_prefix(name) else {
        return false;
    };
    let suffixes = [Priority::High, Priority::Low].map(Priority::suffix);
    rest.is_empty() || suffixes.contains(&Some(rest))
}

fn check_names(
    built_in: &[Arc<dyn HeadersAdapter>],
    own: &[Arc<dyn HeadersAdapter>],
) -> Result<(), AdapterNamesError> {
    let mut taken: Vec<&str> = built_in
        .iter()
        .flat_map(|adapter| adapter.names())
        .copied()
        .collect();
    for &name in own.iter().flat_map(|adapter| adapter.names()) {
        if name.starts_with(RESERVED) || is_of_retry(name) || is_of_dead_letter(name) {
            return Err(AdapterNamesError::Reserved {
                name: name.to_owned(),
            });
        }
        if taken.contains(&name) {
            return Err(AdapterNamesError::Twice {
                name: name.to_owned(),
            });
        }
        taken.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt;

    use super::*;
    use crate::context::{CONTEXT, restore_context};
    use crate::message::{Offset, OwnedBatch, OwnedRecord, RecordBatch, Timestamp, TopicPartition};

    /// A batch that counts how often a header is looked up.
    struct Watched(OwnedBatch, Arc<AtomicUsize>);

    impl RecordBatch for Watched {
        fn partition(&self) -> &TopicPartition {
            self.0.partition()
        }

        fn len(&self) -> usize {
            self.0.len()
        }

        fn offset(&self, index: usize) -> Offset {
            self.0.offset(index)
        }

        fn key(&self, index: usize) -> Option<&[u8]> {
            self.0.key(index)
        }

        fn payload(&self, index: usize) -> Option<&[u8]> {
            self.0.payload(index)
        }

        fn timestamp(&self, index: usize) -> Option<Timestamp> {
            self.0.timestamp(index)
        }

        fn headers(&self, _: usize) -> Headers {
            panic!("all headers of a message are never collected")
        }

        fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
            self.1.fetch_add(1, Relaxed);
            self.0.header(index, name)
        }
    }

    #[test]
    fn headers_are_looked_at_once_and_only_if_somebody_asks() {
        let looks = Arc::new(AtomicUsize::new(0));
        let record = OwnedRecord {
            headers: Headers::new().with(CONTEXT, r#"{"tenant_id":"acme"}"#),
            ..OwnedRecord::new(0, "1")
        };
        let batch = OwnedBatch::new(TopicPartition::new("t", 0), vec![record]);
        let message = RawMessage::new(Arc::new(Watched(batch, Arc::clone(&looks))), 0);
        let headers = Arc::new(HeadersOrchestrator::default());
        let run = |run: fn() -> Context| headers.scope(&message, async move { run() }).now_or_never();
        assert!(run(Context::new).is_some_and(|context| context.is_empty()));
        assert_eq!(looks.load(Relaxed), 0);
        let asked = run(|| {
            let first = Context::current();
            assert_eq!(first.tenant_id(), Context::current().tenant_id());
            first
        });
        assert_eq!(asked.as_ref().and_then(Context::tenant_id), Some("acme"));
        // One for each header that an adapter reads: without `traceparent` nobody asks for `tracestate`.
        assert_eq!(looks.load(Relaxed), 4);
    }

    #[test]
    fn the_inner_scope_counts_and_ends() {
        let tenant = || Context::current().tenant_id().map(str::to_owned);
        let inner = restore_context(Context::new().with_tenant_id("inner"), async move { tenant() });
        let outer = restore_context(Context::new().with_tenant_id("outer"), async move {
            (tenant(), inner.await, tenant())
        });
        let told = outer.now_or_never().expect("nothing is waited for");
        let expected = ["outer", "inner", "outer"].map(|name| Some(name.to_owned()));
        assert_eq!([told.0, told.1, told.2], expected);
        assert_eq!(tenant(), None);
    }

    #[test]
    fn a_name_means_a_topic_its_priorities_and_with_a_star_all_that_begin_so() {
        for (name, topic, expected) in [
            ("a", "a", true),
            ("a", "a.high", true),
            ("a", "a.low", true),
            ("a", "a.higher", false),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*", "anything", true),
        ] {
            assert_eq!(means(name, topic), expected, "{name} {topic}");
        }
    }
}
