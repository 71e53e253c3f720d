//! What the end-to-end tests share: topics, foreign producers, workers and their journals.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use athomic::KafkaTransport;
use athomic::message::TopicPartition;
use athomic::settings::Settings;
use athomic::transport::{Admin, NewTopic, Transport};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// A real broker, and a topic and a group on it that nobody else uses.
pub(crate) struct Rig {
    bootstrap: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    partitions: u32,
    folder: PathBuf,
    admin: <KafkaTransport as Transport>::Admin,
}

impl Rig {
    /// Make a topic; `None` if there is no broker to test on.
    pub(crate) async fn new(name: &str, partitions: u32) -> Option<Self> {
        let Ok(bootstrap) = std::env::var("ATHOMIC_TEST_KAFKA") else {
            println!("skipped: ATHOMIC_TEST_KAFKA is not set; `cargo xtask test` sets it");
            return None;
        };
        let unique = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos();
        let topic = format!("e2e.{name}.{unique}");
        let settings = Settings::loader()
            .text("rig.toml", "integration.messaging.provider.backend = \"kafka\"")
            .set(
                "integration.messaging.consumer.bootstrap_servers",
                vec![bootstrap.clone()],
            )
            .load()
            .expect("the rig's settings")
            .settings;
        let connection = &settings.messaging.connections["default"];
        let transport = KafkaTransport::connect(&settings, connection).expect("a transport");
        let admin = transport.admin().await.expect("an administrator");
        admin
            .create_topics(&[NewTopic::new(&topic, partitions)])
            .await
            .expect("a topic");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&topic);
        fs::create_dir_all(&folder).expect("a folder for journals");
        let group = format!("group-{topic}");
        Some(Self {
            bootstrap,
            topic,
            group,
            partitions,
            folder,
            admin,
        })
    }

    /// Write `key:payload` lines by Kafka's own console producer, or by kcat where the jars are not.
    pub(crate) async fn produce(&self, lines: String) {
        let mut command = match std::env::var("ATHOMIC_TEST_KAFKA_LIBS") {
            Ok(jars) => {
                let mut command = Command::new("java");
                command
                    .arg("-cp")
                    .arg(format!("{jars}/*"))
                    .arg("org.apache.kafka.tools.ConsoleProducer");
                command.args(["--bootstrap-server", &self.bootstrap, "--topic", &self.topic]);
                command.args(["--property", "parse.key=true", "--property", "key.separator=:"]);
                command
            }
            Err(_) => {
                let mut command = Command::new("kcat");
                command.args(["-P", "-b", &self.bootstrap, "-t", &self.topic, "-K", ":"]);
                command
            }
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let mut producer = command.spawn().expect("a foreign producer: Kafka's own, or kcat");
        let mut stdin = producer.stdin.take().expect("piped");
        stdin
            .write_all(lines.as_bytes())
            .await
            .expect("the producer reads");
        drop(stdin);
        assert!(producer.wait().await.expect("the producer ends").success());
    }

    /// Start a worker.
    pub(crate) fn worker(&self, name: &'static str, protocol: &str) -> Worker {
        self.worker_with(name, protocol, &[])
    }

    /// Start a worker with settings of its own, by their environment variables.
    pub(crate) fn worker_with(
        &self,
        name: &'static str,
        protocol: &str,
        settings: &[(&str, &str)],
    ) -> Worker {
        let journal = self.folder.join(name);
        let log = fs::File::create(self.folder.join(format!("{name}.log"))).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_worker"))
            .env("E2E_NAME", name)
            .env("E2E_TOPIC", &self.topic)
            .env("E2E_GROUP", &self.group)
            .env("E2E_BOOTSTRAP", &self.bootstrap)
            .env("E2E_PROTOCOL", protocol)
            .env("E2E_JOURNAL", &journal)
            .envs(settings.iter().copied())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("a worker");
        Worker { name, child, journal }
    }

    /// Return the group's committed offset of each partition that has one.
    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        let count = i32::try_from(self.partitions).expect("few partitions");
        let partitions: Vec<_> = (0..count)
            .map(|number| TopicPartition::new(&*self.topic, number))
            .collect();
        let offsets = self
            .admin
            .committed(&self.group, &partitions)
            .await
            .expect("committed offsets");
        offsets
            .into_iter()
            .map(|offset| (offset.partition.partition, offset.offset))
            .collect()
    }

    /// Where journals and logs are, for a failed assertion's text.
    pub(crate) fn folder(&self) -> String {
        self.folder.display().to_string()
    }
}

/// A process that consumes.
pub(crate) struct Worker {
    pub(crate) name: &'static str,
    child: Child,
    journal: PathBuf,
}

impl Worker {
    /// End it as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Ask it to end, and wait for its end; it must be in time and without an error.
    pub(crate) async fn terminate(&mut self) {
        let id = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .expect("kill runs");
        assert!(told.success());
        let ended = tokio::time::timeout(Duration::from_secs(35), self.child.wait()).await;
        let status = ended.expect("it ends within the drain time").expect("its status");
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Read what it has noted so far.
    pub(crate) fn journal(&self) -> Vec<Note> {
        let text = fs::read_to_string(&self.journal).unwrap_or_default();
        text.lines().map(|line| Note::parse(line, self.name)).collect()
    }
}

/// A line of a journal.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) worker: &'static str,
    pub(crate) is_end: bool,
    pub(crate) key: String,
    pub(crate) seq: u64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) nanos: u128,
}

impl Note {
    fn parse(line: &str, worker: &'static str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a whole line");
        Self {
            worker,
            is_end: word() == "E",
            key: word().to_owned(),
            seq: word().parse().expect("a sequence"),
            partition: word().parse().expect("a partition"),
            offset: word().parse().expect("an offset"),
            nanos: word().parse().expect("a time"),
        }
    }
}

/// All ends, by key and sequence, the earliest first.
pub(crate) fn ends(notes: &[Note]) -> HashMap<(String, u64), Vec<Note>> {
    let mut ends: HashMap<(String, u64), Vec<Note>> = HashMap::new();
    for note in notes.iter().filter(|note| note.is_end) {
        ends.entry((note.key.clone(), note.seq))
            .or_default()
            .push(note.clone());
    }
    for notes in ends.values_mut() {
        notes.sort_by_key(|note| note.nanos);
    }
    ends
}

/// Wait until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited two minutes until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
