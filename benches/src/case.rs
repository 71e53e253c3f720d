//! One way to consume the orders, and the process that it runs in.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::measurement::Measurement;
use crate::{application, baseline, topic};

/// One way to consume the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// librdkafka's safe wrapper, polled message by message by one thread.
    PollLoop,
    /// librdkafka's partition queues, drained in batches by one thread.
    BatchLoop,
    /// No broker at all: decoding alone, by one thread. What the embedded broker is compared with.
    DecodeLoop,
    /// athomic: a handler of single messages.
    Single,
    /// athomic: a handler of batches of 500.
    Batch,
    /// athomic: a handler of single messages, 64 at once, in order by key.
    Keyed,
}

/// Where the orders come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Real Kafka.
    Kafka {
        /// `host:port`.
        bootstrap: String,
        /// A group that has committed nothing yet.
        group: String,
    },
    /// The embedded broker, or memory for the case without a broker.
    Embedded,
}

/// All that a case's process has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What to do.
    pub case: Case,
    /// Where the orders come from.
    pub source: Source,
    /// How many to handle.
    pub messages: u64,
    /// Changes to the client's options and to settings of consumers, by their names.
    pub tuning: Vec<(String, String)>,
}

impl Case {
    /// All cases that read from Kafka; the baselines come first.
    pub const KAFKA: &[Self] = &[
        Self::PollLoop,
        Self::BatchLoop,
        Self::Single,
        Self::Batch,
        Self::Keyed,
    ];
    /// All cases that need no server; the baseline comes first.
    pub const EMBEDDED: &[Self] = &[Self::DecodeLoop, Self::Single, Self::Batch, Self::Keyed];

    /// Return its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PollLoop => "poll-loop",
            Self::BatchLoop => "batch-loop",
            Self::DecodeLoop => "decode-loop",
            Self::Single => "single",
            Self::Batch => "batch",
            Self::Keyed => "keyed",
        }
    }

    /// Find a case by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::KAFKA.iter().chain(Self::EMBEDDED);
        all.copied().find(|case| case.name() == name)
    }

    /// Say whether athomic does the work.
    #[must_use]
    pub const fn is_athomic(self) -> bool {
        matches!(self, Self::Single | Self::Batch | Self::Keyed)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Run {
    /// Do it in this process.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn here(&self) -> Result<Measurement> {
        match (self.case, &self.source) {
            (Case::PollLoop, Source::Kafka { bootstrap, group }) => {
                baseline::poll_loop(&baseline::options(bootstrap, group, &self.tuning), self.messages)
            }
            (Case::BatchLoop, Source::Kafka { bootstrap, group }) => {
                baseline::batch_loop(&baseline::options(bootstrap, group, &self.tuning), self.messages)
            }
            (Case::DecodeLoop, Source::Embedded) => baseline::decode_loop(self.messages),
            (Case::Single | Case::Batch | Case::Keyed, _) => application::run(self),
            (case, source) => bail!("there is no case `{case}` for {source:?}"),
        }
    }

    /// Do it in a process of its own, and check that what athomic handled is committed.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn apart(&self) -> Result<Measurement> {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--case", self.case.name()]);
        child.args(["--messages", &self.messages.to_string()]);
        match &self.source {
            Source::Kafka { bootstrap, group } => {
                child.args(["--bootstrap", bootstrap, "--group", group]);
            }
            Source::Embedded => {
                child.arg("--embedded");
            }
        }
        for (name, value) in &self.tuning {
            child.args(["--set", &format!("{name}={value}")]);
        }
        let output = child.stderr(Stdio::inherit()).output()?;
        ensure!(
            output.status.success(),
            "case `{}` failed: {}",
            self.case,
            output.status
        );
        self.check_committed()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("case `{}` did not report what it cost", self.case))
    }

    fn check_committed(&self) -> Result<()> {
        let Source::Kafka { bootstrap, group } = &self.source else {
            return Ok(());
        };
        if !self.case.is_athomic() {
            return Ok(());
        }
        let committed = topic::committed(bootstrap, group)?;
        ensure!(
            committed >= self.messages,
            "case `{}` handled {} messages and committed {committed}",
            self.case,
            self.messages
        );
        Ok(())
    }
}
