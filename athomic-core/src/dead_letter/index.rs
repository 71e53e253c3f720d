//! An index of dead letters in a key-value store, so that listing them reads no topic.
//!
//! An entry is made when the broker has acknowledged its letter. It goes into a queue, which a service of its own empties:
//! a letter never waits for the index, and whatever becomes of the store, the letter stands in its topic. What the queue
//! has no room for, and what the store does not take, is left out and counted. Who is killed before an entry is
//! written has lost the entry and not the letter.
//!
//! Entries go after `index_ttl_seconds`, and of each handler the oldest beyond `index_max_entries` before that. They
//! are sorted by handler, stage and fingerprint, which is what they are asked for by.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, mpsc};

use super::letter::bounded;
use super::{Chain, Summary, TARGET};
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::message::{Offset, Partition, TopicPartition};
use crate::store::StoreError;
use crate::store::key_value::{Change, DynKeyValueStore};
use crate::transport::Delivery;

/// Stands between the parts of a key; sorts before all that is printed.
const SEPARATOR: char = '\u{1f}';

/// How many entries are read or deleted in one call.
const PAGE: usize = 500;

/// After so many entries of this process it is looked whether there are too many.
const LOOK_AFTER: usize = 100;

/// How many entries may wait for the store.
const QUEUE: usize = 10_000;

/// How many entries are written in one call.
const AT_ONCE: usize = 100;

/// How long a call of the store may take, and what is left at a stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an error's text is in an entry, in bytes.
const ERROR: usize = 512;

/// A dead letter in the index, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IndexEntry {
    /// What the letter tells; its error is cut off at 512 bytes.
    #[serde(flatten)]
    pub summary: Summary,
    /// The dead-letter topic.
    pub letter_topic: String,
    /// The partition of it.
    pub letter_partition: Partition,
    /// The offset there.
    pub letter_offset: Offset,
    /// The connection over which that topic is.
    pub connection: String,
}

impl IndexEntry {
    fn new(mut summary: Summary, letter: &Delivery, connection: &str) -> Self {
        let TopicPartition { topic, partition } = &letter.partition;
        summary.error = summary.error.map(|error| bounded(&error, ERROR));
        Self {
            summary,
            connection: connection.to_owned(),
            letter_topic: topic.to_string(),
            letter_partition: *partition,
            letter_offset: letter.offset,
        }
    }

    fn key(&self) -> String {
        let Summary {
            handler,
            stage,
            fingerprint,
            id,
            ..
        } = &self.summary;
        [handler.as_str(), stage, fingerprint, id].join(&SEPARATOR.to_string())
    }
}

/// Which entries are meant; what is `None` is not looked at, and the default means all.
#[derive(Debug, Clone, Default)]
pub struct IndexFilter {
    /// Those of this handler.
    pub handler: Option<String>,
    /// Those that failed here, such as `decode`.
    pub stage: Option<String>,
    /// Those with this fingerprint.
    pub fingerprint: Option<String>,
}

impl IndexFilter {
    fn fits(&self, entry: &IndexEntry) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        same(&self.handler, &entry.summary.handler)
            && same(&self.stage, &entry.summary.stage)
            && same(&self.fingerprint, &entry.summary.fingerprint)
    }

    /// Return what the keys begin with of all that are meant.
    fn prefix(&self) -> String {
        let mut prefix = String::new();
        for part in [&self.handler, &self.stage, &self.fingerprint] {
            let Some(part) = part else { break };
            prefix.push_str(part);
            prefix.push(SEPARATOR);
        }
        prefix
    }
}

/// Lists dead letters without reading their topics. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetterIndex {
    index: Arc<Index>,
    queue: mpsc::Sender<IndexEntry>,
    /// The connection of the letters that are noted.
    connection: Arc<str>,
}

struct Index {
    store: Arc<dyn DynKeyValueStore>,
    ttl: Duration,
    max_entries: usize,
    opened: OnceCell<()>,
    lacking: AtomicU64,
}

impl fmt::Debug for DeadLetterIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterIndex")
            .field("store", &self.index.store.name())
            .finish_non_exhaustive()
    }
}

impl DeadLetterIndex {
    /// Make an index, and the service that writes it.
    pub(crate) fn new(
        store: Arc<dyn DynKeyValueStore>,
        ttl: Duration,
        max_entries: usize,
    ) -> (Self, DeadLetterIndexService) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let index = Arc::new(Index {
            store,
            ttl,
            max_entries,
            opened: OnceCell::new(),
            lacking: AtomicU64::new(0),
        });
        let service = DeadLetterIndexService {
            index: Arc::clone(&index),
            entries: Mutex::new(Some(entries)),
        };
        let index = Self {
            index,
            queue,
            connection: "".into(),
        };
        (index, service)
    }

    /// Note letters of a connection.
    #[must_use]
    pub(crate) fn of_connection(&self, name: &str) -> Self {
        Self {
            connection: name.into(),
            ..self.clone()
        }
    }

    /// List at most `limit` entries that are meant, sorted by handler, stage and fingerprint.
    ///
    /// # Errors
    /// The store gives no answer.
    pub async fn list(&self, filter: &IndexFilter, limit: usize) -> Result<Vec<IndexEntry>, StoreError> {
        let (mut pages, mut found) = (Pages::of(filter.prefix()), Vec::new());
        while found.len() < limit
            && let Some(page) = pages.next(&self.index).await?
        {
            let entries = page.into_iter().filter_map(|(_, entry)| entry);
            found.extend(entries.filter(|entry| filter.fits(entry)));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Return how many letters of this process the index lacks, since the store did not take them or took too long.
    #[must_use]
    pub fn lacking(&self) -> u64 {
        self.index.lacking.load(Relaxed)
    }

    /// Have a letter noted that the broker has acknowledged. Never waits.
    pub(super) fn note(&self, summary: Summary, letter: &Delivery) {
        let entry = IndexEntry::new(summary, letter, &self.connection);
        if self.queue.try_send(entry).is_err() {
            self.index.lack(1, &"the store does not keep up");
        }
    }
}

impl Index {
    fn lack(&self, entries: usize, why: &dyn fmt::Display) {
        let before = self.lacking.fetch_add(entries as u64, Relaxed);
        let now = before + entries as u64;
        // Told at the first and then at each thousandth: a store that is down would fill the log.
        if before == 0 || before / 1000 != now / 1000 {
            tracing::warn!(
                target: TARGET, store = self.store.name(), entries = now, why = %why,
                "the index of dead letters lacks entries; the letters are in their topics"
            );
        }
    }

    async fn open(&self) -> Result<(), StoreError> {
        self.opened.get_or_try_init(|| self.store.open()).await?;
        Ok(())
    }

    /// Write entries in one call, if the store takes them in time.
    async fn write(&self, entries: &[IndexEntry]) {
        let change = |entry: &IndexEntry| {
            let value = serde_json::to_vec(entry).expect("texts and numbers can be written as JSON");
            Change::set(entry.key(), value).expires_after(self.ttl)
        };
        let changes: Vec<_> = entries.iter().map(change).collect();
        let write = async {
            self.open().await?;
            self.store.write(&changes).await
        };
        match tokio::time::timeout(PATIENCE, write).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.lack(entries.len(), &Chain(&error)),
            Err(_elapsed) => self.lack(entries.len(), &"no answer in time"),
        }
    }

    /// Delete the oldest entries of a handler that has too many.
    async fn trim(&self, handler: &str) -> Result<(), StoreError> {
        let (mut pages, mut all) = (Pages::of(format!("{handler}{SEPARATOR}")), Vec::new());
        while let Some(page) = pages.next(self).await? {
            let age = |entry: Option<IndexEntry>| entry.map(|entry| entry.summary.failed_at);
            all.extend(page.into_iter().map(|(key, entry)| (age(entry), key)));
        }
        all.sort_unstable();
        let surplus = all.len().saturating_sub(self.max_entries);
        let oldest = all.into_iter().take(surplus);
        let deletions: Vec<_> = oldest.map(|(_, key)| Change::delete(key)).collect();
        for some in deletions.chunks(PAGE) {
            self.store.write(some).await?;
        }
        Ok(())
    }
}

/// Reads entries whose keys have a beginning in common, page by page.
struct Pages {
    prefix: String,
    /// The last key that was read.
    after: Option<String>,
    is_over: bool,
}

/// Entries with their keys; nothing for one that cannot be read, because another version has written it.
type Page = Vec<(String, Option<IndexEntry>)>;

impl Pages {
    fn of(prefix: String) -> Self {
        Self {
            prefix,
            after: None,
            is_over: false,
        }
    }

    /// Read the next page; `None` if there is none.
    async fn next(&mut self, index: &Index) -> Result<Option<Page>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        index.open().await?;
        let page = index
            .store
            .scan(&self.prefix, self.after.as_deref(), PAGE)
            .await?;
        self.is_over = page.len() < PAGE;
        self.after = page.last().map(|(key, _)| key.clone());
        let read = |(key, value): (String, bytes::Bytes)| (key, serde_json::from_slice(&value).ok());
        Ok(Some(page.into_iter().map(read).collect()))
    }
}

/// Writes what is noted. Stops after the consumers, with what they have noted last.
pub(crate) struct DeadLetterIndexService {
    index: Arc<Index>,
    /// Nothing once it runs.
    entries: Mutex<Option<mpsc::Receiver<IndexEntry>>>,
}

impl fmt::Debug for DeadLetterIndexService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Service for DeadLetterIndexService {
    fn name(&self) -> &str {
        "index of dead letters"
    }

    fn priority(&self) -> i32 {
        -50
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(entries) = entries {
            handle.spawn(run(Arc::clone(&self.index), entries, handle.clone()));
        }
        Ok(())
    }
}

/// Write what is noted until told to stop, and then what is left.
async fn run(
    index: Arc<Index>,
    mut entries: mpsc::Receiver<IndexEntry>,
    handle: ServiceHandle,
) -> Result<(), ServiceError> {
    tokio::select! {
        biased;
        () = handle.overdue(PATIENCE) => {}
        () = write_all(&index, &mut entries, &handle) => {}
    }
    Ok(())
}

async fn write_all(index: &Index, entries: &mut mpsc::Receiver<IndexEntry>, handle: &ServiceHandle) {
    let mut some = Vec::with_capacity(AT_ONCE);
    let mut written = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            count = entries.recv_many(&mut some, AT_ONCE) => if count == 0 { return },
            () = handle.stopping() => return,
        }
        index.write(&some).await;
        for entry in some.drain(..) {
            let since: &mut usize = written.entry(entry.summary.handler).or_default();
            *since += 1;
        }
        for (handler, since) in written.iter_mut().filter(|(_, since)| **since >= LOOK_AFTER) {
            *since = 0;
            let trimmed = tokio::time::timeout(PATIENCE, index.trim(handler)).await;
            if let Ok(Err(error)) = trimmed {
                tracing::debug!(target: TARGET, error = %Chain(&error), "the index of dead letters is not trimmed");
            }
        }
    }
}
