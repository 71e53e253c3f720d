//! One broker: a process that is killed, paused and started again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::watched::Watched;

/// How long a broker may take until it answers, on a machine that does other things as well.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Become the broker. `$0` is the settings file, `$1` the folder of the jars, `$2` the data; more is for
/// the formatting.
const SCRIPT: &str = r#"
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
    process: Watched,
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
            process: Watched::new(format!("node {id}"), folder.join("broker.log")),
            folder,
            jars,
            port,
            format_arguments,
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
        self.process.log().to_owned()
    }

    /// Return its process id while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.process.pid().await
    }

    /// Start it, with the data and ports that it had. Does not wait until it is ready.
    ///
    /// # Panics
    /// When it runs already, or cannot be started.
    pub async fn start(&self) {
        let settings = self.folder.join(SETTINGS).display().to_string();
        let (jars, data) = (
            self.jars.display().to_string(),
            self.folder.join(DATA).display().to_string(),
        );
        let mut arguments = vec![&*settings, &jars, &data];
        arguments.extend(self.format_arguments.iter().map(String::as_str));
        self.process.start(SCRIPT, &arguments, &self.folder).await;
    }

    /// Wait until it serves clients.
    ///
    /// # Panics
    /// When it ended instead, or does not answer in two minutes.
    pub async fn wait_until_ready(&self) {
        let deadline = Instant::now() + START_LIMIT;
        while !answers(self.port).await {
            self.process.assert_runs().await;
            assert!(
                Instant::now() < deadline,
                "node {} does not answer; {}",
                self.id,
                self.process.end_of_log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// End it as `kill -9` does; returns when it is gone.
    pub async fn kill(&self) {
        self.process.end(Signal::KILL).await;
    }

    /// Ask it to hand over its partitions and end; returns when it is gone.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    pub async fn terminate(&self) {
        self.process.end(Signal::TERM).await;
    }

    /// Kill it, start it again, and wait until it is ready.
    pub async fn restart(&self) {
        self.kill().await;
        self.start().await;
        self.wait_until_ready().await;
    }

    /// Stop it from running, with its connections open (SIGSTOP).
    pub async fn pause(&self) {
        self.process.signal(Signal::STOP).await;
    }

    /// Let it run on after [`pause`](Self::pause).
    pub async fn resume(&self) {
        self.process.signal(Signal::CONT).await;
    }
}

pub(super) const SETTINGS: &str = "server.properties";
pub(super) const DATA: &str = "data";

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
