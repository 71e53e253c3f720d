//! What the bench asks. Each question is asked by name, or all of them one after the other.

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::case::{Case, Work};
use crate::goal::Goal;
use crate::probe::{idle, in_flight, latency};
use crate::rounds::{self, Variant};
use crate::topic::{self, Topic};
use crate::{child, report};

/// A question, with how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Its name on the command line.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Cases in alternation. The first is what the others are compared with.
    Compare {
        cases: &'static [Case],
        /// How many messages a case handles: the first so many that there are, or fewer.
        messages: u64,
        /// Names of cases, and what their ratios must reach, in hundredths.
        goals: &'static [(&'static str, u32)],
    },
    Idle,
    Latency,
    InFlight,
}

/// How questions are asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// `host:port`.
    pub bootstrap: String,
    /// How many rounds comparisons have.
    pub rounds: usize,
    /// At most so many messages a case and round.
    pub messages: u64,
    /// Changes to the client's options and to settings, by their names.
    pub tuning: Vec<(String, String)>,
    /// Print JSON.
    pub json: bool,
}

/// Cases that no other question knows.
const SLEEP_LOOP: Case = Case::new("sleep-loop", Work::SleepLoop, topic::ORDERS);
const SLEEPING: Case = Case::new("sleeping", Work::Sleeping, topic::ORDERS);
const POLL_LOOP_64: Case = Case::new("poll-loop-64", Work::PollLoop, topic::ORDERS_64);
const SINGLE_64: Case = Case::new("single-64", Work::Single, topic::ORDERS_64);
const POLL_LOOP_256: Case = Case::new("poll-loop-256", Work::PollLoop, topic::ORDERS_256);
const SINGLE_256: Case = Case::new("single-256", Work::Single, topic::ORDERS_256);
const TEN_LOOPS: Case = Case::new("ten-loops", Work::TenLoops, topic::ORDERS);
const TEN_HANDLERS: Case = Case::new("ten-handlers", Work::TenHandlers, topic::ORDERS);

impl Question {
    /// All questions.
    pub const ALL: &[Self] = &[
        Self::compare(
            "consume",
            &[
                Case::POLL_LOOP,
                Case::BATCH_LOOP,
                Case::SINGLE,
                Case::BATCH,
                Case::KEYED,
            ],
            1_000_000,
            &[("single", 100), ("batch", 110), ("keyed", 70)],
        ),
        Self::compare("sleeping", &[SLEEP_LOOP, SLEEPING], 300_000, &[("sleeping", 85)]),
        Self::compare("partitions-64", &[POLL_LOOP_64, SINGLE_64], 500_000, &[]),
        Self::compare("partitions-256", &[POLL_LOOP_256, SINGLE_256], 500_000, &[]),
        Self::compare("ten-handlers", &[TEN_LOOPS, TEN_HANDLERS], 1_000_000, &[]),
        Self::of("in-flight", Kind::InFlight),
        Self::of("latency", Kind::Latency),
        Self::of("idle", Kind::Idle),
    ];

    const fn of(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }

    const fn compare(
        name: &'static str,
        cases: &'static [Case],
        messages: u64,
        goals: &'static [(&'static str, u32)],
    ) -> Self {
        let kind = Kind::Compare {
            cases,
            messages,
            goals,
        };
        Self::of(name, kind)
    }

    /// Find a question by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|question| question.name == name)
    }

    /// Return all cases of all questions.
    pub fn cases() -> impl Iterator<Item = Case> {
        let cases = Self::ALL.iter().flat_map(|question| match question.kind {
            Kind::Compare { cases, .. } => cases,
            _ => &[],
        });
        cases.copied()
    }

    /// Measure and print; return what was promised of the figures.
    ///
    /// # Errors
    /// A case or a probe fails.
    pub fn ask(&self, asking: &Asking) -> Result<Vec<Goal>> {
        match self.kind {
            Kind::Compare {
                cases,
                messages,
                goals,
            } => compare(cases, messages.min(asking.messages), goals, asking),
            Kind::Idle => {
                idle::topics()
                    .iter()
                    .try_for_each(|topic| provide(topic, asking))?;
                Ok(probe::<idle::Figures>(self.name, asking, None)?.goals())
            }
            Kind::Latency => {
                topic::create_if_missing(&asking.bootstrap, latency::TOPIC, latency::PARTITIONS)?;
                Ok(probe::<latency::Figures>(self.name, asking, None)?.goals())
            }
            Kind::InFlight => {
                let mut goals = Vec::new();
                for (case, topic, windows) in in_flight::CASES {
                    provide(&topic, asking)?;
                    for window in windows {
                        let window = format!("max_in_flight_messages={window}");
                        goals.extend(probe::<in_flight::Figures>(case, asking, Some(window))?.goals());
                    }
                }
                Ok(goals)
            }
        }
    }
}

/// Run cases in alternation.
fn compare(cases: &[Case], messages: u64, goals: &[(&str, u32)], asking: &Asking) -> Result<Vec<Goal>> {
    let variants: Vec<Variant> = cases.iter().map(|case| (*case, asking.tuning.clone())).collect();
    let lines = measure(&variants, messages, asking)?;
    let goal = |(name, percent): &(&str, u32)| {
        let place = cases.iter().position(|case| case.name == *name)?;
        let what = format!("{name}: ratio to {}", cases[0]);
        Some(Goal::at_least(
            &what,
            lines[place].ratio,
            f64::from(*percent) / 100.0,
        ))
    };
    Ok(goals.iter().filter_map(goal).collect())
}

/// Provide the topics of these variants, run them in alternation, and print what they cost.
///
/// # Errors
/// A case fails.
pub fn measure(variants: &[Variant], messages: u64, asking: &Asking) -> Result<Vec<report::Line>> {
    let mut topics: Vec<Topic> = variants.iter().map(|(case, _)| case.topic).collect();
    topics.dedup();
    topics.iter().try_for_each(|topic| provide(topic, asking))?;
    let results = rounds::run(variants, Some(&asking.bootstrap), messages, asking.rounds)?;
    let lines = report::lines(variants, &results);
    report::print(&lines, asking.json)?;
    Ok(lines)
}

/// Run a probe in a process of its own and print what it found.
fn probe<T>(name: &str, asking: &Asking, change: Option<String>) -> Result<T>
where
    T: Serialize + DeserializeOwned + std::fmt::Display,
{
    let mut arguments = vec!["--case".to_owned(), name.to_owned()];
    arguments.extend(child::at(&asking.bootstrap, &child::new_group(name)?));
    let tuning = asking
        .tuning
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    for change in tuning.chain(change) {
        arguments.extend(["--set".to_owned(), change]);
    }
    let figures: T = child::run(name, &arguments)?;
    if asking.json {
        println!("{}", report::named(name, &figures)?);
    } else {
        println!("{name}: {figures}");
    }
    Ok(figures)
}

fn provide(topic: &Topic, asking: &Asking) -> Result<()> {
    if let Some(time) = topic.provide(&asking.bootstrap)? {
        let Topic { name, messages, .. } = topic;
        eprintln!(
            "filled `{name}` with {messages} messages in {:.1} s",
            time.as_secs_f64()
        );
    }
    Ok(())
}
