//! What a run cost Redis, as Redis itself counts it.

use anyhow::{Context as _, Result};
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::Config;
use fred::types::{ClusterHash, CustomCommand, Value};
use serde::{Deserialize, Serialize};

/// What Redis did during a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Processor time of its main thread.
    pub cpu_seconds: f64,
    /// Commands that clients sent: round trips, where nothing is pipelined.
    pub calls: u64,
    /// The most memory that it had beyond what it had before.
    pub peak_mb: f64,
}

/// A connection to the server that is measured.
pub struct Server {
    client: Client,
    before: Counters,
}

#[derive(Debug, Clone, Copy)]
struct Counters {
    cpu_seconds: f64,
    calls: u64,
    bytes: f64,
    peak_bytes: f64,
}

impl Server {
    /// Empty the server and begin to count.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn begin(uri: &str) -> Result<Self> {
        let client = Client::new(Config::from_url(uri)?, None, None, None);
        client.init().await?;
        for (name, arguments) in [("FLUSHALL", vec!["SYNC"]), ("CONFIG", vec!["RESETSTAT"])] {
            command(&client, name, arguments).await?;
        }
        let before = counters(&client).await?;
        Ok(Self { client, before })
    }

    /// Return what was done since.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn cost(&self) -> Result<Cost> {
        let (now, before) = (counters(&self.client).await?, self.before);
        Ok(Cost {
            cpu_seconds: now.cpu_seconds - before.cpu_seconds,
            calls: now.calls - before.calls,
            peak_mb: (now.peak_bytes - before.bytes) / 1e6,
        })
    }

    /// Return a client of the server.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

async fn command(client: &Client, name: &'static str, arguments: Vec<&str>) -> Result<Value> {
    let command = CustomCommand::new_static(name, ClusterHash::Random, false);
    Ok(client.custom(command, arguments).await?)
}

async fn counters(client: &Client) -> Result<Counters> {
    let info = command(client, "INFO", vec!["everything"]).await?;
    let info = info.into_string().context("INFO is text")?;
    let field = |name: &str| -> Result<f64> {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line
            .with_context(|| format!("INFO has no `{name}`"))?
            .trim()
            .parse()?)
    };
    // What scripts call is counted as commands as well: the scripts themselves, and what comes from clients
    // alone, are the round trips.
    let calls = |name: &str| {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        let number = line.and_then(|line| line.split(',').next());
        number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    let scripts = calls("evalsha") + calls("eval");
    let calls = if scripts > 0 {
        scripts
    } else {
        ["get", "set", "zadd", "zrange", "zrem"]
            .into_iter()
            .map(calls)
            .sum()
    };
    Ok(Counters {
        cpu_seconds: field("used_cpu_sys_main_thread")? + field("used_cpu_user_main_thread")?,
        calls,
        bytes: field("used_memory")?,
        peak_bytes: field("used_memory_peak")?,
    })
}
