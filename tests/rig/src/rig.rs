//! A topic, a group, and the processes that consume in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use athomic::app::AppBuilder;
use athomic::message::TopicPartition;
use athomic::settings::Settings;
use athomic::transport::{Admin as _, NewTopic, Transport};
use athomic::{App, KafkaTransport};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::journal::{Note, read};
use crate::tools::{Tools, feed};
use crate::wait::{unique, until};

/// How long a process may take to end after SIGTERM: the drain time, and five seconds.
const STOP_LIMIT: Duration = Duration::from_secs(35);

/// A topic and a group that nobody else uses, and a folder for what is noted about them.
pub struct Rig {
    /// Where the brokers are.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    partitions: u32,
    folder: PathBuf,
    admin: <KafkaTransport as Transport>::Admin,
}

impl Rig {
    /// Make a topic on the broker that `ATHOMIC_TEST_KAFKA` names; `None`, with a line to say so,
    /// where it names none.
    ///
    /// `folder` is where journals and logs go: give it `env!("CARGO_TARGET_TMPDIR")`.
    pub async fn on_shared_broker(folder: &str, name: &str, partitions: u32) -> Option<Self> {
        let Ok(bootstrap) = std::env::var("ATHOMIC_TEST_KAFKA") else {
            println!("skipped: ATHOMIC_TEST_KAFKA is not set; `cargo xtask test` sets it");
            return None;
        };
        Some(Self::on(bootstrap, folder, &NewTopic::new(name, partitions)).await)
    }

    /// Make a topic on the brokers at `bootstrap`. Its name gets an ending that no other run has.
    ///
    /// # Panics
    /// When the topic cannot be made.
    pub async fn on(bootstrap: String, folder: &str, topic: &NewTopic) -> Self {
        let mut topic = topic.clone();
        topic.name = unique(&format!("e2e.{}", topic.name));
        let transport = transport(&bootstrap);
        let admin = transport.admin().await.expect("an administrator");
        let folder = PathBuf::from(folder).join(&topic.name);
        fs::create_dir_all(&folder).expect("a folder for journals");
        let rig = Self {
            bootstrap,
            group: format!("group-{}", topic.name),
            partitions: topic.partitions,
            topic: topic.name.clone(),
            folder,
            admin,
        };
        rig.make(&[topic]).await;
        rig
    }

    /// Make topics. A broker that is slow to answer is asked again.
    ///
    /// # Panics
    /// When they cannot be made.
    pub async fn make(&self, topics: &[NewTopic]) {
        until("the topics are made", async || {
            match self.admin.create_topics(topics).await {
                Err(error) if !error.is_retriable() => panic!("they cannot be made: {error:?}"),
                made => made.is_ok(),
            }
        })
        .await;
    }

    /// Return what looks at topics and makes them.
    #[must_use]
    pub fn admin(&self) -> &<KafkaTransport as Transport>::Admin {
        &self.admin
    }

    /// Write `key:payload` lines by Kafka's own console producer, or by kcat where the jars are not.
    ///
    /// # Panics
    /// When there is neither.
    pub async fn produce(&self, lines: String) {
        if let Some(tools) = Tools::from_environment() {
            return tools.produce(&self.bootstrap, &self.topic, &lines).await;
        }
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", &self.bootstrap, "-t", &self.topic, "-K", ":"]);
        feed(kcat.kill_on_drop(true), &lines).await;
    }

    /// Begin an application in this process, on the rig's brokers, with these settings and none from elsewhere.
    pub fn app(&self, settings: &str) -> AppBuilder {
        let text = settings.to_owned();
        let servers = vec![self.bootstrap.clone()];
        App::builder().without_discovery().loader(move |loader| {
            let none: [(&str, &str); 0] = [];
            loader
                .text("test.toml", text)
                .environment(none)
                .set("integration.messaging.provider.backend", "kafka")
                .set("integration.messaging.consumer.bootstrap_servers", servers)
        })
    }

    /// Start a process that consumes: `program` is told by the environment what and how, as the
    /// worker of `tests/e2e` says, and more by `further` variables.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn worker(
        &self,
        program: &str,
        name: &'static str,
        protocol: &str,
        further: &[(&str, &str)],
    ) -> Worker {
        let journal = self.folder.join(name);
        let log = self.log_of(name);
        let child = Command::new(program)
            .env("E2E_NAME", name)
            .env("E2E_TOPIC", &self.topic)
            .env("E2E_GROUP", &self.group)
            .env("E2E_BOOTSTRAP", &self.bootstrap)
            .env("E2E_PROTOCOL", protocol)
            .env("E2E_JOURNAL", &journal)
            .envs(further.iter().copied())
            .stderr(fs::File::create(&log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("a worker");
        Worker {
            name,
            child,
            journal,
            log,
        }
    }

    /// Return the group's committed offset of each partition that has one.
    ///
    /// # Panics
    /// When the broker does not say.
    pub async fn committed(&self) -> BTreeMap<i32, i64> {
        let count = i32::try_from(self.partitions).expect("few partitions");
        let partitions: Vec<_> = (0..count)
            .map(|number| TopicPartition::new(&*self.topic, number))
            .collect();
        let mut asked = self.admin.committed(&self.group, &partitions).await;
        // On a machine that does other things as well an answer may come too late.
        for _ in 0..3 {
            if asked
                .as_ref()
                .is_err_and(athomic::transport::TransportError::is_retriable)
            {
                asked = self.admin.committed(&self.group, &partitions).await;
            }
        }
        let offsets = asked.expect("committed offsets").into_iter();
        offsets
            .map(|offset| (offset.partition.partition, offset.offset))
            .collect()
    }

    /// Return where a process logs.
    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Return where journals and logs are, for a failed assertion's text.
    #[must_use]
    pub fn folder(&self) -> String {
        self.folder.display().to_string()
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig")
            .field("topic", &self.topic)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

pub(crate) fn transport(bootstrap: &str) -> KafkaTransport {
    let servers: Vec<_> = bootstrap.split(',').map(str::to_owned).collect();
    let settings = Settings::loader()
        .text("rig.toml", "integration.messaging.provider.backend = \"kafka\"")
        .set("integration.messaging.consumer.bootstrap_servers", servers)
        .load()
        .expect("the rig's settings")
        .settings;
    let connection = &settings.messaging.connections["default"];
    KafkaTransport::connect(&settings, connection).expect("a transport")
}

/// A process that consumes; killed when it is dropped.
#[derive(Debug)]
pub struct Worker {
    /// Its name in the journal.
    pub name: &'static str,
    child: Child,
    journal: PathBuf,
    log: PathBuf,
}

impl Worker {
    /// End it as `kill -9` does.
    ///
    /// # Panics
    /// When that is not possible.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Ask it to end, and wait for its end.
    ///
    /// # Panics
    /// When it does not end in time, or with an error.
    pub async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
        let status = ended.expect("it ends within the drain time").expect("its status");
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Wait until it has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until_ended(&mut self) {
        let ended = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
        ended.expect("it ends by itself").expect("its status");
    }

    /// Check that it still runs.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("its state") {
            panic!("{} ended with {status}; {}", self.name, self.log());
        }
    }

    /// Send it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(id).expect("not 0"), signal).expect("it is ours");
    }

    /// Read what it has noted so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Note> {
        read(&self.journal, self.name)
    }

    pub(crate) fn journal_file(&self) -> &std::path::Path {
        &self.journal
    }

    /// Read what it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Count the partitions that it was given so far, also those that it lost again.
    #[must_use]
    pub fn given(&self) -> usize {
        self.log().matches("(epoch ").count()
    }
}

/// What a test that fails shows of each worker's log, which nobody may find any more: its last lines.
const SHOWN: usize = 60;

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN)..];
            println!(
                "--- the last {} lines of {}:\n{}",
                shown.len(),
                self.name,
                shown.join("\n")
            );
        }
    }
}
