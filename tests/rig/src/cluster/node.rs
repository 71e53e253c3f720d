//! One broker: a process that is killed, paused and started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// How long a broker may take until it answers, on a machine that does other things as well.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a broker may take to hand over its partitions and end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Become the broker, and leave behind a shell that kills it when nobody holds our standard input.
///
/// So a broker ends with the test in whatever way that ends, `kill -9` included. A line on standard
/// input tells the shell that the broker is gone: its process id may be another's by then.
/// `$0` is the settings file, `$1` the folder of the jars, `$2` the data; more is for the formatting.
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
{ read -r line <&3 || kill -9 $$; } &
exec 3<&-
libs=$1 data=$2; shift 2
java="java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=log4j2.properties"
test -e "$data/meta.properties" ||
    $java -Xmx128m -cp "$libs/*" kafka.tools.StorageTool format -t athomic-test-cluster-A -c "$0" "$@" || exit
exec $java -Xmx384m -cp "$libs/*" kafka.Kafka "$0"
"#;

/// A broker that is also a controller.
#[derive(Debug)]
pub struct Node {
    id: u32,
    folder: PathBuf,
    jars: PathBuf,
    /// Where it is asked whether it is ready.
    port: u16,
    format_arguments: Vec<String>,
    process: Mutex<Option<Child>>,
}

impl Node {
    pub(super) fn new(
        id: u32,
        folder: PathBuf,
        jars: PathBuf,
        port: u16,
        format_arguments: Vec<String>,
    ) -> Self {
        Self {
            id,
            folder,
            jars,
            port,
            format_arguments,
            process: Mutex::new(None),
        }
    }

    /// Return the id that the cluster knows it by.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Return the file with all that it printed.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// Return its process id while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.process.lock().await.as_ref().and_then(Child::id)
    }

    /// Start it, with the data and ports that it had. Does not wait until it is ready.
    ///
    /// # Panics
    /// When it runs already, or cannot be started.
    pub async fn start(&self) {
        let mut process = self.process.lock().await;
        assert!(process.is_none(), "node {} runs already", self.id);
        *process = Some(self.spawn());
    }

    /// Wait until it serves clients.
    ///
    /// # Panics
    /// When it ended instead, or does not answer in two minutes.
    pub async fn wait_until_ready(&self) {
        let deadline = Instant::now() + START_LIMIT;
        while !answers(self.port).await {
            let ended = match self.process.lock().await.as_mut() {
                Some(child) => child.try_wait().expect("its state"),
                None => panic!("node {} was not started", self.id),
            };
            let log = self.log();
            assert!(
                ended.is_none(),
                "node {} ended while starting; {}",
                self.id,
                end_of(&log)
            );
            assert!(
                Instant::now() < deadline,
                "node {} does not answer; {}",
                self.id,
                end_of(&log)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// End it as `kill -9` does; returns when it is gone.
    pub async fn kill(&self) {
        self.end(Signal::KILL).await;
    }

    /// Ask it to hand over its partitions and end; returns when it is gone.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    pub async fn terminate(&self) {
        self.end(Signal::TERM).await;
    }

    /// Kill it, start it again, and wait until it is ready.
    pub async fn restart(&self) {
        self.kill().await;
        self.start().await;
        self.wait_until_ready().await;
    }

    /// Stop it from running, with its connections open (SIGSTOP).
    pub async fn pause(&self) {
        self.signal(Signal::STOP).await;
    }

    /// Let it run on after [`pause`](Self::pause).
    pub async fn resume(&self) {
        self.signal(Signal::CONT).await;
    }

    async fn signal(&self, signal: Signal) {
        let process = self.process.lock().await;
        let child = process.as_ref().expect("the node runs");
        send(child, signal);
    }

    /// Signal it, wait for its end, and tell the watching shell. Does nothing if it does not run.
    async fn end(&self, signal: Signal) {
        let mut process = self.process.lock().await;
        let Some(child) = process.as_mut() else {
            return;
        };
        let mut watcher = child.stdin.take();
        send(child, signal);
        let ended = tokio::time::timeout(STOP_LIMIT, child.wait()).await;
        ended
            .unwrap_or_else(|_late| panic!("node {} takes too long to end; {}", self.id, end_of(&self.log())))
            .expect("its status");
        if let Some(watcher) = &mut watcher {
            // It is gone already if the whole group was killed from outside.
            let _watching = watcher.write_all(b"\n").await;
        }
        *process = None;
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.expect("the log can be written");
        Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(self.folder.join(SETTINGS))
            .arg(&self.jars)
            .arg(self.folder.join(DATA))
            .args(&self.format_arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            // Ctrl-C in a terminal is for the test; its end is what ends the broker.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("a shell")
    }
}

pub(super) const SETTINGS: &str = "server.properties";
pub(super) const DATA: &str = "data";

/// Signal a process that was not yet waited for, so that the id is its own.
fn send(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(id) = id {
        // Failing means that it has just ended by itself.
        let _ended = kill_process(id, signal);
    }
}

/// Say whether the broker replies to an ApiVersions request: an open port alone proves nothing, as
/// a broker accepts connections before it serves them.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&API_VERSIONS_REQUEST).await?;
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    let reply = tokio::time::timeout(Duration::from_secs(1), ask).await;
    matches!(reply, Ok(Ok([_, _, _, _, 0, 0, 0, 7, 0, 0])))
}

/// Size, api key 18, version 0, correlation id 7, no client id.
const API_VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// Quote the last lines of a log, for the text of a panic.
fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(20)..].join("\n");
    format!("the end of {}:\n{last}", log.display())
}
