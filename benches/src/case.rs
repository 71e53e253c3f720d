//! One way to consume orders, and the process that it runs in.

use std::fmt;

use anyhow::{Result, bail, ensure};

use crate::measurement::Measurement;
use crate::topic::{self, Topic};
use crate::{application, baseline, child};

/// One way to consume orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name in reports.
    pub name: &'static str,
    /// What is done.
    pub work: Work,
    /// What is consumed.
    pub topic: Topic,
}

/// What a case does with the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// librdkafka's safe wrapper, polled message by message by one thread.
    PollLoop,
    /// librdkafka's partition queues, drained in batches by one thread.
    BatchLoop,
    /// No broker at all: decoding alone, by one thread. What the embedded broker is compared with.
    DecodeLoop,
    /// The poll loop, which spawns a task for each message that waits as a handler of
    /// [`Sleeping`](Self::Sleeping) does.
    SleepLoop,
    /// Ten poll loops, each a group of its own.
    TenLoops,
    /// athomic: a handler of single messages.
    Single,
    /// athomic: a handler of batches of 500.
    Batch,
    /// athomic: a handler of single messages, 64 at once, in order by key.
    Keyed,
    /// athomic: a handler that waits for 5 ms, 1000 at once, in order by key.
    Sleeping,
    /// athomic: ten handlers of single messages, each a group of its own.
    TenHandlers,
}

/// How many there are of what there are ten of.
pub const TEN: usize = 10;

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

impl Work {
    /// Say whether athomic does the work.
    #[must_use]
    pub const fn is_athomic(self) -> bool {
        matches!(
            self,
            Self::Single | Self::Batch | Self::Keyed | Self::Sleeping | Self::TenHandlers
        )
    }

    /// Return how many times each message of the topic is handled.
    #[must_use]
    pub const fn readers(self) -> usize {
        match self {
            Self::TenLoops | Self::TenHandlers => TEN,
            _ => 1,
        }
    }
}

impl Case {
    /// The baseline of most.
    pub const POLL_LOOP: Self = Self::new("poll-loop", Work::PollLoop, topic::ORDERS);
    /// See [`Work::BatchLoop`].
    pub const BATCH_LOOP: Self = Self::new("batch-loop", Work::BatchLoop, topic::ORDERS);
    /// See [`Work::DecodeLoop`].
    pub const DECODE_LOOP: Self = Self::new("decode-loop", Work::DecodeLoop, topic::ORDERS);
    /// See [`Work::Single`].
    pub const SINGLE: Self = Self::new("single", Work::Single, topic::ORDERS);
    /// See [`Work::Batch`].
    pub const BATCH: Self = Self::new("batch", Work::Batch, topic::ORDERS);
    /// See [`Work::Keyed`].
    pub const KEYED: Self = Self::new("keyed", Work::Keyed, topic::ORDERS);

    /// Name a way to do the work.
    #[must_use]
    pub const fn new(name: &'static str, work: Work, topic: Topic) -> Self {
        Self { name, work, topic }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Run {
    /// Do it in this process.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn here(&self) -> Result<Measurement> {
        if self.case.work.is_athomic() {
            return application::run(self);
        }
        match (self.case.work, &self.source) {
            (Work::DecodeLoop, Source::Embedded) => baseline::decode_loop(self.messages),
            (work, Source::Kafka { bootstrap, group }) => {
                let config = baseline::options(bootstrap, group, &self.tuning);
                match work {
                    Work::PollLoop => baseline::poll_loop(&config, &self.case.topic, self.messages),
                    Work::BatchLoop => baseline::batch_loop(&config, &self.case.topic, self.messages),
                    Work::SleepLoop => baseline::sleep_loop(&config, &self.case.topic, self.messages),
                    Work::TenLoops => baseline::ten_loops(&config, &self.groups(), self),
                    work => bail!("there is no loop for {work:?}"),
                }
            }
            (work, source) => bail!("there is no {work:?} over {source:?}"),
        }
    }

    /// Do it in a process of its own, and check that what athomic handled is committed.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn apart(&self) -> Result<Measurement> {
        let mut arguments = vec!["--case".to_owned(), self.case.name.to_owned()];
        arguments.extend(["--messages".to_owned(), self.messages.to_string()]);
        match &self.source {
            Source::Kafka { bootstrap, group } => arguments.extend(child::at(bootstrap, group)),
            Source::Embedded => arguments.push("--embedded".to_owned()),
        }
        for (name, value) in &self.tuning {
            arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        let measurement = child::run(self.case.name, &arguments)?;
        self.check_committed()?;
        Ok(measurement)
    }

    /// Return the groups that consume: one for each reader.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let group = match &self.source {
            Source::Kafka { group, .. } => group,
            Source::Embedded => self.case.name,
        };
        match self.case.work.readers() {
            1 => vec![group.to_owned()],
            readers => (0..readers).map(|number| format!("{group}-{number}")).collect(),
        }
    }

    fn check_committed(&self) -> Result<()> {
        let Source::Kafka { bootstrap, .. } = &self.source else {
            return Ok(());
        };
        if !self.case.work.is_athomic() {
            return Ok(());
        }
        let committed = self
            .groups()
            .iter()
            .map(|group| self.case.topic.committed(bootstrap, group))
            .sum::<Result<u64>>()?;
        ensure!(
            committed >= self.messages,
            "case `{}` handled {} messages and committed {committed}",
            self.case,
            self.messages
        );
        Ok(())
    }
}
