//! Servers that a test starts and breaks. They end with the test, even if that is killed.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use athomic_core::testing::eventually;

/// After so long a server has answered, or the test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A `redis-server` with settings of its own.
pub(crate) struct Server {
    pub(crate) port: u16,
    dir: PathBuf,
    /// Its settings file, if it has one.
    file: Option<String>,
    settings: Vec<String>,
    /// What `redis-cli` needs to talk to it.
    client: Vec<String>,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().ok();
        }
    }
}

/// Return a port that is free, also with 10,000 added, where cluster nodes talk to each other.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Start a server with settings, each `name value` as on the command line, and wait until it answers.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let mut server = Self::prepare(settings);
        server.start_again().await;
        server
    }

    /// Make all but the process.
    pub(crate) fn prepare(settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("athomic-redis-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder can be made");
        Self {
            port: free_port(),
            dir,
            file: None,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            client: Vec::new(),
            process: None,
        }
    }

    /// Start a sentinel that watches a master called `main`.
    pub(crate) async fn sentinel(master: &Self) -> Self {
        let mut sentinel = Self::prepare(&["sentinel"]);
        let lines = format!(
            "sentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 1000\n\
             sentinel failover-timeout main 5000\n",
            master.port,
        );
        fs::write(sentinel.dir.join("sentinel.conf"), lines).expect("a file can be written");
        sentinel.file = Some("sentinel.conf".to_owned());
        sentinel.start_again().await;
        sentinel
    }

    /// Let it speak TLS alone.
    pub(crate) fn with_tls(mut self, authority: &str, certificate: &str, key: &str) -> Self {
        self.settings.push(format!("tls-port {}", self.port));
        let client = [
            "--tls",
            "--cacert",
            authority,
            "--cert",
            certificate,
            "--key",
            key,
        ];
        self.client = client.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// Start it again with its data, in its place.
    pub(crate) async fn start_again(&mut self) {
        self.spawn();
        let answers = || matches!(self.cli(&["PING"]).get(..4), Some("PONG" | "NOAU"));
        assert!(eventually(LIMIT, answers).await, "the server does not answer");
    }

    fn spawn(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("sh");
        // The shell ends when its input does, which it does with this process, and takes all along.
        command.args([
            "-c",
            "exec 2>>log; \"$@\" >>log & server=$!; read -r REPLY; kill -9 $server; wait $server; \
             [ \"$REPLY\" = keep ] || rm -rf \"$PWD\"",
            "sh",
        ]);
        command.arg("redis-server").args(&self.file);
        command.args(["--bind", "127.0.0.1", "--daemonize", "no"]);
        if self.client.is_empty() {
            command.args(["--port", &port]);
        }
        if self.file.is_none() {
            command.args(["--save", ""]);
        }
        for setting in &self.settings {
            command.args(format!("--{setting}").split_whitespace());
        }
        let process = command.current_dir(&self.dir).stdin(Stdio::piped()).spawn();
        self.process = Some(process.expect("`sh` can be run"));
    }

    /// End it as by `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let mut input = process.stdin.take().expect("it has an input");
            input.write_all(b"keep\n").ok();
            process.wait().ok();
        }
    }

    /// Run a command through `redis-cli`, and return what it prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(&self.client);
        let output = command.args(arguments).output().expect("`redis-cli` can be run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Return a field of its INFO.
    pub(crate) fn info(&self, name: &str) -> String {
        let info = self.cli(&["INFO", "everything"]);
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}
