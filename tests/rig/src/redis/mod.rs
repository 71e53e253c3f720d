//! One Redis that a test may kill, pause and start again, with its data or without.

mod ask;
mod proxy;

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

pub use ask::Answer;
pub use proxy::{Proxy, Replies};

use crate::ports;
use crate::wait::within;
use crate::watched::Watched;

/// Become Redis. `$0` is the settings file.
const SCRIPT: &str = r#"exec redis-server "$0""#;

/// How long it may take until it answers.
const START_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// A Redis on a port of its own. It ends with the test.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    port: u16,
    process: Watched,
}

impl Redis {
    /// Start one, with an append-only file or without anything that lasts. `None` where the tests have no
    /// servers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start(folder: impl Into<PathBuf>, append_only: bool) -> Option<Self> {
        if std::env::var_os("ATHOMIC_TEST_REDIS").is_none() {
            println!("skipped: ATHOMIC_TEST_REDIS is not set; `cargo xtask test` sets it");
            return None;
        }
        let folder = folder.into();
        fs::create_dir_all(&folder).expect("a folder for Redis");
        let port = ports::free();
        let append_only = if append_only { "yes" } else { "no" };
        let settings = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly {append_only}\nappendfsync always\n\
             daemonize no\n"
        );
        fs::write(folder.join("redis.conf"), settings).expect("Redis' settings");
        let redis = Self {
            process: Watched::new("Redis".to_owned(), folder.join("redis.log")),
            folder,
            port,
        };
        redis.begin().await;
        Some(redis)
    }

    /// Return where it is, as the settings of a store have it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Return its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// End it as `kill -9` does, start it again, and wait until it answers.
    pub async fn restart(&self) {
        self.process.end(Signal::KILL).await;
        self.begin().await;
    }

    /// Stop it from running, with its connections open (SIGSTOP).
    pub async fn pause(&self) {
        self.process.signal(Signal::STOP).await;
    }

    /// Let it run on after [`pause`](Self::pause).
    pub async fn resume(&self) {
        self.process.signal(Signal::CONT).await;
    }

    /// Ask it something.
    ///
    /// # Panics
    /// When it does not answer, or refuses.
    pub async fn ask(&self, command: &[&str]) -> Answer {
        let answer = ask::ask(self.port, command).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Return what is left of ordered consumption besides the next expected sequences: messages that wait,
    /// aggregates to look at, leases. Nothing, where all is done. What sessions were asked for is forgotten
    /// with them, ten minutes after their end.
    pub async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for key in self.ask(&["KEYS", "ath:*"]).await.texts() {
            let kind = key.rsplit_once("}:").and_then(|(_, rest)| rest.split(':').next());
            let is_left = match kind.unwrap_or_default() {
                "w" | "p" | "r" | "g" | "h" => true,
                "m" => {
                    let sums = self.ask(&["HMGET", &key, "b", "c"]).await.texts();
                    sums.iter().any(|sum| !sum.is_empty() && sum != "0")
                }
                "a" => {
                    let state = self.ask(&["HMGET", &key, "o", "n"]).await.texts();
                    !state[0].is_empty() || !(state[1].is_empty() || state[1] == "0")
                }
                _ => false,
            };
            if is_left {
                left.push(key);
            }
        }
        left
    }

    async fn begin(&self) {
        let settings = self.folder.join("redis.conf").display().to_string();
        self.process.start(SCRIPT, &[&settings], &self.folder).await;
        within(START_LIMIT, "Redis answers", async || {
            self.process.assert_runs().await;
            matches!(ask::ask(self.port, &["PING"]).await, Ok(Answer::Text(pong)) if pong == "PONG")
        })
        .await;
    }
}
