//! The ordered mode: a handler of aggregates' events, whose work is to write to a ledger.
//!
//! Told by `E2E_REDIS`, which asks for this mode, `E2E_LEDGER` (a folder), `E2E_DURABILITY` and
//! `E2E_MAX_DELIVERIES`.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use athomic::handler::register::{HandlerDefinition, ordered};
use athomic::ordering::DurabilityRule;
use athomic::prelude::*;
use athomic::settings::{DEFAULT_KVSTORE, KvStoreSettings, Settings, StoreBackend};
use athomic::store::ordering::FencingToken;
use rustix::fs::{FlockOperation, flock};

use super::{Journal, nanos};

/// After which silence a worker's aggregates go to others.
const SESSION: Duration = Duration::from_secs(5);

/// An event of an aggregate.
#[derive(Debug, Deserialize)]
struct Event {
    of: String,
    seq: u64,
    /// How long it takes, in milliseconds; else 0 to 20.
    ms: Option<u64>,
    /// It kills whoever handles it.
    #[serde(default)]
    deadly: bool,
}

/// What handlers write to: the last event of each aggregate, and the token under which it was written. It
/// takes no write under a lower token.
#[derive(Debug, Clone)]
struct Ledger(PathBuf);

impl Ledger {
    /// `UPDATE ledger SET seq = :seq, token = :token WHERE aggregate = :of AND token <= :token`.
    fn write(&self, event: &Event, token: u64) -> io::Result<bool> {
        let file = self.0.join(&event.of);
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(file)?;
        // Held until the file is closed.
        flock(&file, FlockOperation::LockExclusive)?;
        let mut row = String::new();
        file.read_to_string(&mut row)?;
        let written = row
            .split(' ')
            .next()
            .and_then(|token| token.parse().ok())
            .unwrap_or(0);
        if token < written {
            return Ok(false);
        }
        file.write_all_at(format!("{token:020} {:020}\n", event.seq).as_bytes(), 0)?;
        Ok(true)
    }
}

fn note(journal: &Journal, what: char, event: &Event, token: u64, meta: &Meta) -> io::Result<()> {
    let line = format!(
        "{what} {} {} {token} {} {} {} {}\n",
        event.of,
        event.seq,
        meta.attempt(),
        meta.partition(),
        meta.offset(),
        nanos()
    );
    journal.0.as_ref().write_all(line.as_bytes())
}

async fn on_event(
    event: Event,
    meta: Meta,
    token: FencingToken,
    State(journal): State<Journal>,
    State(ledger): State<Ledger>,
) -> Result<(), HandlerError> {
    let token = token.get();
    note(&journal, 'S', &event, token, &meta)?;
    if event.deadly {
        std::process::abort();
    }
    let millis = event.ms.unwrap_or(event.seq.wrapping_mul(0x9e37_79b9) % 21);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    if meta.attempt() == 1 && event.seq % 97 == 13 {
        note(&journal, 'F', &event, token, &meta)?;
        return Err(HandlerError::retry("told to fail"));
    }
    let is_written = ledger.write(&event, token)?;
    Ok(note(
        &journal,
        if is_written { 'E' } else { 'R' },
        &event,
        token,
        &meta,
    )?)
}

/// Describe the handler and what it needs, and name its store in the settings.
pub(super) fn app(settings: Settings, redis: String) -> Result<athomic::AppBuilder, Box<dyn Error>> {
    let mut settings = settings;
    let mut store = KvStoreSettings::new(DEFAULT_KVSTORE);
    store.backend = StoreBackend::Redis;
    store.uri = Some(redis.into());
    settings.kvstores.insert(store.name.clone(), store);
    let ledger = Ledger(super::told("E2E_LEDGER")?.into());
    Ok(athomic::App::builder()
        .settings(settings)
        .without_discovery()
        .register(handler()?)
        .state(ledger))
}

fn handler() -> Result<HandlerDefinition, Box<dyn Error>> {
    let durability = match env::var("E2E_DURABILITY").as_deref() {
        Ok("redis") => DurabilityRule::Redis,
        _ => DurabilityRule::Kafka,
    };
    let deliveries = env::var("E2E_MAX_DELIVERIES").ok();
    let deliveries = deliveries.map(|number| number.parse()).transpose()?;
    Ok(ordered(super::told("E2E_TOPIC")?)
        .handler_id("ordered")
        .group_id(super::told("E2E_GROUP")?)
        .concurrency(8)
        .key(|event: &Event| event.of.clone())
        .sequence(|event: &Event| event.seq)
        .policies(|policies| {
            policies.session_ttl = Some(SESSION);
            policies.durability = Some(durability);
            policies.max_deliveries = deliveries;
        })
        .handler(on_event))
}
