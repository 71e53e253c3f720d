//! `RedisStreamQueue`: a stream in Redis as a queue, with a consumer group.
//!
//! An event is an entry with the field `payload`, which is JSON; of an entry without it the event is an object
//! of its fields, as texts. What cannot be read goes to the stream `STREAM:dead` with a reason, and is
//! acknowledged.
//!
//! What is read is pending until it is acknowledged. While its consumer lives it is claimed again and again, so
//! that it stays young; what grows older than `idle_ms` belonged to one that died or stalled, and is taken over.
//! A consumer that closes gives back what it has not acknowledged at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::outcome::BoxError;
use athomic_core::queue::{Boxed, EventStream, MessageQueueBackend, QueueError, QueueScheme};
use athomic_core::store::KeyValueSettings;
use athomic_core::store::idempotency::LockToken;
use fred::types::Value as Reply;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::call::{self, Call};
use crate::connection::Connection;
use crate::settings::Target;

/// The group of those who name none.
const GROUP: &str = "default";
/// How many events are read ahead.
const COUNT: &str = "16";
/// How long one read waits for events; less than the client waits for answers.
const BLOCK: &str = "1000";
/// After what time what is pending counts as left, if the URL says nothing.
const IDLE: Duration = Duration::from_secs(60);

inventory::submit! {
    QueueScheme {
        schemes: &["redis", "rediss", "valkey", "valkeys"],
        load: |url| Ok(Arc::new(RedisStreamQueue::open(url)?)),
    }
}

/// A stream in Redis as a queue.
pub struct RedisStreamQueue {
    target: Target,
    stream: Arc<str>,
    idle: Duration,
}

impl fmt::Debug for RedisStreamQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreamQueue")
            .field("stream", &self.stream)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl RedisStreamQueue {
    /// Make the queue of `redis://[user:password@]host[:port][/database]/stream[?idle_ms=60000]`; with TLS the
    /// scheme is `rediss`. Opens no connection.
    ///
    /// # Errors
    /// [`QueueError::Url`].
    pub fn open(url: &str) -> Result<Self, QueueError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (server, stream) = place.rsplit_once('/').unwrap_or((place, ""));
        if stream.is_empty() || server.ends_with('/') || !server.contains("://") {
            return Err(wrong("it names no stream".to_owned()));
        }
        let (mut idle, mut theirs) = (IDLE, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.strip_prefix("idle_ms=") {
                Some(millis) => idle = idle_of(millis)?,
                None => theirs.push(parameter),
            }
        }
        let query = if theirs.is_empty() {
            String::new()
        } else {
            format!("?{}", theirs.join("&"))
        };
        let settings = KeyValueSettings {
            name: stream.to_owned(),
            namespace: String::new(),
            backend: "redis".to_owned(),
            uri: format!("{server}{query}").as_str().into(),
        };
        let target = Target::new(&settings).map_err(|error| wrong(error.to_string()))?;
        if target.is_cluster() {
            return Err(wrong("streams of a cluster are not read yet".to_owned()));
        }
        Ok(Self {
            target,
            stream: stream.into(),
            idle,
        })
    }

    /// Add an event.
    ///
    /// # Errors
    /// Whether it was added is unknown, or Redis refused it.
    pub async fn publish(&self, event: &Value) -> Result<(), QueueError> {
        let reader = self.reader(GROUP).await?;
        let event = event.to_string();
        reader
            .ask("XADD", &[&self.stream, "*", "payload", &event])
            .await
            .map(drop)
    }

    async fn reader(&self, group: &str) -> Result<Reader, QueueError> {
        let connection = Connection::open(&self.target, false).await;
        let connection = connection.map_err(|error| unavailable(&self.stream, error))?;
        Ok(Reader {
            connection: Arc::new(connection),
            stream: Arc::clone(&self.stream),
            group: group.into(),
            consumer: format!("athomic-{:016x}", LockToken::unique().0).into(),
            idle: self.idle,
            held: Arc::default(),
        })
    }
}

fn idle_of(millis: &str) -> Result<Duration, QueueError> {
    match millis.parse() {
        Ok(millis @ 1000..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err(wrong("`idle_ms` is a number from 1000 to 86400000".to_owned())),
    }
}

fn wrong(reason: String) -> QueueError {
    QueueError::Url {
        reason,
        remedy: "write `redis://[user:password@]host[:port][/database]/stream[?idle_ms=60000]`".to_owned(),
    }
}

fn unavailable(queue: &str, error: impl Into<BoxError>) -> QueueError {
    QueueError::Unavailable {
        queue: queue.to_owned(),
        source: error.into(),
    }
}

impl MessageQueueBackend for RedisStreamQueue {
    fn name(&self) -> &str {
        &self.stream
    }

    fn consume<'a>(&'a self, group: Option<&'a str>) -> Boxed<'a, Result<Box<dyn EventStream>, QueueError>> {
        Box::pin(async move {
            let reader = self.reader(group.unwrap_or(GROUP)).await?;
            reader.make_group().await?;
            let keeper = tokio::spawn(reader.clone().keep());
            let stream: Box<dyn EventStream> = Box::new(RedisEvents {
                reader,
                ready: VecDeque::new(),
                current: None,
                look_again: Instant::now(),
                _keeper: AbortOnDropHandle::new(keeper),
            });
            Ok(stream)
        })
    }
}

/// A consumer of a group.
#[derive(Clone)]
struct Reader {
    connection: Arc<Connection>,
    stream: Arc<str>,
    group: Arc<str>,
    consumer: Arc<str>,
    idle: Duration,
    /// The entries that are pending for this consumer.
    held: Arc<Mutex<Vec<String>>>,
}

/// An entry of a stream: its id and its fields by turns.
type Entry = (String, Vec<Reply>);

impl Reader {
    fn held(&self) -> MutexGuard<'_, Vec<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, name: &'static str, arguments: &[&str]) -> Result<Reply, QueueError> {
        match self.connection.on_node(None, name, arguments).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: fred::error::Error) -> QueueError {
        let code = error.details().split_whitespace().next().unwrap_or_default();
        match code {
            "NOPERM" | "NOAUTH" | "WRONGPASS" | "WRONGTYPE" | "ERR" => QueueError::Failed {
                queue: self.stream.to_string(),
                source: error.into(),
            },
            _ => unavailable(&self.stream, error),
        }
    }

    /// Make the group if it is not there, from the stream's beginning.
    async fn make_group(&self) -> Result<(), QueueError> {
        let arguments = ["CREATE", &*self.stream, &*self.group, "0", "MKSTREAM"];
        match self.connection.on_node(None, "XGROUP", &arguments).await {
            Err(error) if !error.details().starts_with("BUSYGROUP") => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Wait a second for entries that nobody has read.
    async fn read(&self) -> Result<Vec<Entry>, QueueError> {
        let arguments = [
            "GROUP",
            &*self.group,
            &*self.consumer,
            "COUNT",
            COUNT,
            "BLOCK",
            BLOCK,
            "STREAMS",
            &*self.stream,
            ">",
        ];
        match self.connection.on_node(None, "XREADGROUP", &arguments).await {
            Ok(reply) => Ok(first_stream(reply)),
            Err(error) if error.details().starts_with("NOGROUP") => {
                // Somebody deleted the stream, or Redis lost its data.
                self.make_group().await?;
                Ok(Vec::new())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Take over what others have left.
    async fn take_over(&self) -> Result<Vec<Entry>, QueueError> {
        let idle = self.idle.as_millis().to_string();
        let arguments = [
            &*self.stream,
            &*self.group,
            &*self.consumer,
            &idle,
            "0",
            "COUNT",
            COUNT,
        ];
        match self.connection.on_node(None, "XAUTOCLAIM", &arguments).await {
            Ok(Reply::Array(mut reply)) if reply.len() > 1 => Ok(entries(reply.swap_remove(1))),
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.details().starts_with("NOGROUP") => Ok(Vec::new()),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn acknowledge(&self, id: &str) -> Result<(), QueueError> {
        self.ask("XACK", &[&self.stream, &self.group, id]).await?;
        self.held().retain(|held| held != id);
        Ok(())
    }

    /// Put an entry that cannot be read where people find it.
    async fn bury(&self, (id, fields): &Entry, reason: &str) -> Result<(), QueueError> {
        tracing::error!(stream = %self.stream, id, reason, "an entry cannot be read: it goes to the dead ones");
        let dead = format!("{}:dead", self.stream);
        let texts: Vec<String> = fields.iter().map(text).collect();
        let mut arguments = vec![&*dead, "*", "athomic-id", id, "athomic-error", reason];
        arguments.extend(texts.iter().map(String::as_str));
        self.ask("XADD", &arguments).await?;
        self.acknowledge(id).await
    }

    /// Keep what is pending young, so that nobody takes it over.
    async fn keep(self) {
        loop {
            tokio::time::sleep(self.idle / 3).await;
            let held = self.held().clone();
            if let Err(error) = self.claim("0", &held).await {
                tracing::warn!(stream = %self.stream, %error, "cannot keep pending entries");
            }
        }
    }

    /// Set how long ago what is pending for this consumer was delivered, in milliseconds: with 0 these entries,
    /// else all of them.
    async fn claim(&self, idle: &str, ids: &[String]) -> Result<(), QueueError> {
        let mut call = Call::new(&call::PENDING);
        call.key(&[&self.stream]);
        call.text(&self.group).text(&self.consumer).text(idle);
        for id in ids {
            call.text(id);
        }
        let done = self.connection.run(&call.done()).await;
        done.map(drop).map_err(|error| self.failed(error))
    }
}

/// What is so old that the next one who looks takes it over.
const LEFT: &str = "86400000";

/// The events of one consumer.
struct RedisEvents {
    reader: Reader,
    /// What was read and not given.
    ready: VecDeque<Entry>,
    /// What was given and not acknowledged.
    current: Option<String>,
    /// When to look for what others have left.
    look_again: Instant,
    _keeper: AbortOnDropHandle<()>,
}

impl RedisEvents {
    /// Read until there is something.
    async fn fill(&mut self) -> Result<(), QueueError> {
        while self.ready.is_empty() {
            let now = Instant::now();
            let mut read = Vec::new();
            if now >= self.look_again {
                read = self.reader.take_over().await?;
                if read.is_empty() {
                    self.look_again = now + self.reader.idle / 4;
                }
            }
            if read.is_empty() {
                read = self.reader.read().await?;
            }
            self.reader.held().extend(read.iter().map(|(id, _)| id.clone()));
            self.ready.extend(read);
        }
        Ok(())
    }
}

impl EventStream for RedisEvents {
    fn next(&mut self) -> Boxed<'_, Result<Option<Value>, QueueError>> {
        Box::pin(async move {
            loop {
                self.fill().await?;
                // Taken out after what may fail: a call that is dropped or fails loses nothing.
                let entry = self.ready.front().expect("it was filled");
                match event(&entry.1) {
                    Ok(event) => {
                        self.current = self.ready.pop_front().map(|(id, _)| id);
                        return Ok(Some(event));
                    }
                    Err(reason) => {
                        self.reader.bury(entry, &reason).await?;
                        self.ready.pop_front();
                    }
                }
            }
        })
    }

    fn settle(&mut self) -> Boxed<'_, Result<(), QueueError>> {
        Box::pin(async move {
            if let Some(id) = &self.current {
                self.reader.acknowledge(id).await?;
                self.current = None;
            }
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Boxed<'static, ()> {
        let reader = self.reader.clone();
        drop(self);
        Box::pin(async move {
            if let Err(error) = reader.claim(LEFT, &[]).await {
                tracing::warn!(stream = %reader.stream, %error, "pending entries could not be given back; others take them over later");
            }
        })
    }
}

fn text(value: &Reply) -> String {
    let bytes = value.as_bytes().unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() => text.to_owned(),
        _ => value
            .as_string()
            .unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// Read the fields of an entry as an event.
fn event(fields: &[Reply]) -> Result<Value, String> {
    let pairs = || fields.chunks_exact(2).map(|pair| (text(&pair[0]), &pair[1]));
    if let Some((_, payload)) = pairs().find(|(name, _)| name == "payload") {
        let payload = text(payload);
        return serde_json::from_str(&payload).map_err(|error| format!("its payload is no JSON: {error}"));
    }
    let object: Map<_, _> = pairs().map(|(name, value)| (name, text(value).into())).collect();
    Ok(Value::Object(object))
}

/// Return the entries of the one stream of a reply; none if there is nothing new.
fn first_stream(reply: Reply) -> Vec<Entry> {
    let Reply::Array(streams) = reply else {
        return Vec::new();
    };
    let Some(Reply::Array(mut stream)) = streams.into_iter().next() else {
        return Vec::new();
    };
    stream.pop().map(entries).unwrap_or_default()
}

fn entries(reply: Reply) -> Vec<Entry> {
    let entry = |entry: Reply| match entry {
        Reply::Array(mut parts) if parts.len() == 2 => {
            let fields = parts.pop().map(Reply::into_array).unwrap_or_default();
            let id = parts.pop().as_ref().map(text)?;
            Some((id, fields))
        }
        // An entry that was deleted while it was pending.
        _ => None,
    };
    reply.into_array().into_iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_server_and_stream() {
        let queue = RedisStreamQueue::open("redis://u:p@h:7000/3/orders?idle_ms=5000").expect("it is one");
        assert_eq!((queue.name(), queue.idle), ("orders", Duration::from_secs(5)));
        assert_eq!(queue.target.config.database, Some(3));
        assert!(RedisStreamQueue::open("redis://h/orders").is_ok());
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_its_password() {
        for url in [
            "redis://u:canary@h",
            "redis://u:canary@h/",
            "redis://u:canary@h/s?idle_ms=1",
            "redis://u:canary@h/s?nothing=canary",
            "redis-cluster://u:canary@h/s",
        ] {
            let error = RedisStreamQueue::open(url).expect_err(url).to_string();
            assert!(error.contains("write `redis://"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
