//! Kafka's own command line, and its console clients as producers and consumers that are not ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// One of Kafka's programs, by the name of its class in the jars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `kafka-topics`.
    Topics,
    /// `kafka-consumer-groups`.
    ConsumerGroups,
    /// `kafka-acls`.
    Acls,
    /// `kafka-configs`.
    Configs,
    /// `kafka-leader-election`.
    LeaderElection,
    /// `kafka-reassign-partitions`.
    ReassignPartitions,
    /// `kafka-delete-records`.
    DeleteRecords,
    /// `kafka-metadata-quorum`.
    MetadataQuorum,
    /// `kafka-console-producer`.
    ConsoleProducer,
    /// `kafka-console-consumer`.
    ConsoleConsumer,
}

impl Tool {
    fn class(self) -> &'static str {
        match self {
            Self::Topics => "org.apache.kafka.tools.TopicCommand",
            Self::ConsumerGroups => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            Self::Acls => "org.apache.kafka.tools.AclCommand",
            Self::Configs => "kafka.admin.ConfigCommand",
            Self::LeaderElection => "org.apache.kafka.tools.LeaderElectionCommand",
            Self::ReassignPartitions => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            Self::DeleteRecords => "org.apache.kafka.tools.DeleteRecordsCommand",
            Self::MetadataQuorum => "org.apache.kafka.tools.MetadataQuorumCommand",
            Self::ConsoleProducer => "org.apache.kafka.tools.ConsoleProducer",
            Self::ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        }
    }
}

/// Kafka's programs, from the jars that `cargo xtask test` fetches.
#[derive(Debug, Clone)]
pub struct Tools {
    jars: PathBuf,
}

impl Tools {
    /// Find the jars; `None`, with a line to say so, where they are not.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let Some(jars) = std::env::var_os("ATHOMIC_TEST_KAFKA_LIBS") else {
            println!("skipped: ATHOMIC_TEST_KAFKA_LIBS is not set; `cargo xtask test` sets it");
            return None;
        };
        Some(Self { jars: jars.into() })
    }

    /// Return the folder of the jars.
    #[must_use]
    pub fn jars(&self) -> &Path {
        &self.jars
    }

    /// Prepare a program with a server's address; it is killed when it is dropped.
    #[must_use]
    pub fn command(&self, tool: Tool, bootstrap: &str, arguments: &[&str]) -> Command {
        let mut command = self.java();
        command
            .arg(tool.class())
            .args(["--bootstrap-server", bootstrap])
            .args(arguments);
        command
    }

    /// Prepare Java with the jars on its class path; what to run is still to be said.
    pub(crate) fn java(&self) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
            .arg(self.jars.join("*"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Run a program to its end and return what it printed.
    ///
    /// # Panics
    /// When it fails, with all that it printed.
    pub async fn run(&self, tool: Tool, bootstrap: &str, arguments: &[&str]) -> String {
        let output = self.command(tool, bootstrap, arguments).output().await;
        let output = output.expect("java is installed");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{tool:?} {arguments:?} failed: {printed}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Write `key:value` lines to a topic with Kafka's own producer; returns when it has ended.
    ///
    /// # Panics
    /// When it fails.
    pub async fn produce(&self, bootstrap: &str, topic: &str, lines: &str) {
        let with_keys = [
            "--topic",
            topic,
            "--property",
            "parse.key=true",
            "--property",
            "key.separator=:",
        ];
        feed(
            &mut self.command(Tool::ConsoleProducer, bootstrap, &with_keys),
            lines,
        )
        .await;
    }

    /// Read a topic with Kafka's own consumer, from the beginning unless the arguments say otherwise;
    /// they may name a group.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn consume(&self, bootstrap: &str, topic: &str, arguments: &[&str]) -> ConsoleConsumer {
        let arguments = [&["--topic", topic, "--from-beginning"], arguments].concat();
        let mut command = self.command(Tool::ConsoleConsumer, bootstrap, &arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("java is installed");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        ConsoleConsumer { process, lines }
    }
}

/// Kafka's own consumer, in a process of its own that ends when this is dropped.
#[derive(Debug)]
pub struct ConsoleConsumer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl ConsoleConsumer {
    /// Read so many records, one a line.
    ///
    /// # Panics
    /// When it ends before.
    pub async fn read(&mut self, records: usize) -> Vec<String> {
        let mut all = Vec::with_capacity(records);
        while all.len() < records {
            let line = self.lines.next_line().await.expect("text");
            all.push(line.unwrap_or_else(|| panic!("it ended after {} records", all.len())));
        }
        all
    }

    /// Return its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// End it as `kill -9` does.
    ///
    /// # Panics
    /// When that is not possible.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
    }
}

/// Give a program its standard input and wait for its end.
pub(crate) async fn feed(command: &mut Command, text: &str) {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut process = command.spawn().expect("the program is installed");
    let mut stdin = process.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).await.expect("it reads");
    drop(stdin);
    let status = process.wait().await.expect("its status");
    assert!(status.success(), "{command:?} failed: {status}");
}
