//! A consumer to be killed: it notes the start and the end of each message in a file.
//!
//! Told by the environment: `E2E_NAME`, `E2E_TOPIC`, `E2E_GROUP`, `E2E_JOURNAL`, `E2E_BOOTSTRAP`,
//! `E2E_PROTOCOL`, `E2E_IDEMPOTENT` to handle each event once by its name, `E2E_GATE` to let keys be held, for the ordered mode those of the module `ordered`, and athomic's own `ATHOMIC_...` for other settings. A line of the journal is written
//! by one system call to a file opened for appending, so that it is there or not there after a
//! `kill -9`, never half.

mod ordered;

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use athomic::handler::register::subscribe;
use athomic::health::HealthProbe;
use athomic::prelude::*;
use athomic::settings::Settings;
use tracing_subscriber::filter::LevelFilter as Level;

/// An event as the foreign producer writes it.
#[derive(Debug, Deserialize)]
struct Event {
    key: String,
    seq: u64,
}

impl Event {
    /// Name the event for idempotency: the same wherever it stands.
    fn name(&self) -> String {
        format!("{}/{}", self.key, self.seq)
    }
}

/// Where starts and ends are noted.
#[derive(Clone)]
struct Journal(Arc<File>);

impl Journal {
    fn note(&self, what: char, event: &Event, meta: &Meta) -> io::Result<()> {
        let nanos = nanos();
        let (partition, offset) = (meta.partition(), meta.offset());
        let line = format!(
            "{what} {} {} {partition} {offset} {nanos}\n",
            event.key, event.seq
        );
        self.0.as_ref().write_all(line.as_bytes())
    }
}

fn nanos() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_nanos()
}

fn told(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set"))
}

/// Some events fail at first, some panic at first, those of key `poison` fail always, those of keys
/// that begin with `slow` take ten minutes, and the first of keys that begin with `held` fails until the file
/// `E2E_GATE` is there.
async fn on_event(event: Event, meta: Meta, State(journal): State<Journal>) -> Result<(), HandlerError> {
    journal.note('S', &event, &meta)?;
    let slow = event.key.starts_with("slow");
    tokio::time::sleep(Duration::from_millis(if slow { 600_000 } else { 2 })).await;
    let gate = env::var_os("E2E_GATE").unwrap_or_default();
    if event.key.starts_with("held") && event.seq == 0 && !Path::new(&gate).exists() {
        return Err(HandlerError::retry_after("told to wait", Duration::from_secs(1)));
    }
    let is_first = meta.attempt() == 1;
    if event.key == "poison" || (is_first && event.seq % 97 == 13) {
        return Err(HandlerError::retry("told to fail"));
    }
    assert!(!(is_first && event.seq % 101 == 17), "told to panic");
    Ok(journal.note('E', &event, &meta)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let level = if env::var_os("E2E_DEBUG").is_some() {
        Level::DEBUG
    } else {
        Level::INFO
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(io::stderr)
        .with_target(false)
        .init();
    let journal = File::options()
        .create(true)
        .append(true)
        .open(told("E2E_JOURNAL")?)?;
    let settings = Settings::loader()
        .text("worker.toml", SETTINGS)
        .environment(env::vars())
        .set("app.name", told("E2E_NAME")?)
        .set(
            "integration.messaging.consumer.bootstrap_servers",
            told("E2E_BOOTSTRAP")?.split(',').collect::<Vec<_>>(),
        )
        .set(
            "integration.messaging.consumer.group_protocol",
            told("E2E_PROTOCOL")?,
        )
        .load()?
        .settings;
    let app = match env::var("E2E_REDIS") {
        Ok(redis) => ordered::app(settings, redis)?,
        Err(_) => {
            let handler = subscribe(told("E2E_TOPIC")?)
                .group_id(told("E2E_GROUP")?)
                .concurrency(16);
            let handler = match env::var_os("E2E_IDEMPOTENT") {
                Some(_) => handler.idempotency_key(Event::name).handler(on_event),
                None => handler.handler(on_event),
            };
            athomic::App::builder()
                .settings(settings)
                .without_discovery()
                .register(handler)
        }
    };
    let app = app.state(Journal(Arc::new(journal))).build()?;
    tokio::spawn(tell_health(app.health()));
    app.run().await?;
    Ok(())
}

/// Log the health as it changes.
async fn tell_health(probe: HealthProbe) {
    let mut told = String::new();
    loop {
        let health = probe.check().to_string().replace('\n', ";");
        let words = health.replace(|letter: char| letter.is_ascii_digit(), "");
        if words != told {
            tracing::info!("health: {health}");
            told = words;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const SETTINGS: &str = r#"
[integration.messaging.provider]
backend = "kafka"

[integration.messaging.consumer]
commit_interval_ms = 200

[integration.messaging.dlq.retry]
min_delay_seconds = 0.01
max_delay_seconds = 0.1
"#;
