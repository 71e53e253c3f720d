//! The cases, run in alternation, and what is promised of them.

use anyhow::{Result, ensure};
use athomic::ordering::CompleteMode;
use serde::{Deserialize, Serialize};

use super::redis::{Cost, Server};
use super::{handler, sequential};
use crate::goal::Goal;
use crate::measurement::Measurement;
use crate::statistics::median;
use crate::topic::{self, Topic};
use crate::{application, baseline, child};

/// One way to consume versions of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name in reports.
    pub name: &'static str,
    /// What is done.
    pub work: Work,
    /// What is consumed.
    pub topic: &'static Topic,
    /// The case that it is compared with.
    beside: &'static str,
}

/// What a case does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// athomic: a handler whose messages are in order by key within their partitions.
    Unordered,
    /// athomic: an ordered handler.
    Ordered(CompleteMode),
    /// The protocol message by message, with so many workers.
    Sequential(usize),
}

const CASES: &[Case] = &[
    Case::new("unordered", Work::Unordered, &topic::KEYED, "unordered"),
    Case::new(
        "sticky",
        Work::Ordered(CompleteMode::Pipelined),
        &topic::KEYED,
        "unordered",
    ),
    Case::new(
        "sticky-sync",
        Work::Ordered(CompleteMode::Sync),
        &topic::KEYED,
        "unordered",
    ),
    Case::new("sequential", Work::Sequential(1), &topic::SCATTERED, "sequential"),
    Case::new(
        "sequential-64",
        Work::Sequential(handler::CONCURRENCY),
        &topic::SCATTERED,
        "sequential",
    ),
    Case::new(
        "scattered",
        Work::Ordered(CompleteMode::Sync),
        &topic::SCATTERED,
        "sequential",
    ),
];

/// How the bench is asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Kafka: `host:port`.
    pub bootstrap: String,
    /// Redis, which is emptied.
    pub redis: String,
    /// How many rounds there are.
    pub rounds: usize,
    /// At most so many messages a case and round.
    pub messages: u64,
    /// Only these cases; all, if none are named.
    pub names: Vec<String>,
    /// Changes to settings, by their names.
    pub tuning: Vec<(String, String)>,
    /// Print JSON.
    pub json: bool,
    /// Run one case with everything in memory.
    pub embedded: bool,
    /// Measure how long messages are on their way, in place of the cases.
    pub latency: bool,
}

/// What a run of a case cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Report {
    measurement: Measurement,
    redis: Cost,
}

/// What a case cost over all rounds: medians.
#[derive(Debug, Clone, Serialize)]
struct Line {
    case: &'static str,
    msgs_per_s: f64,
    /// To the case that it is compared with: the median of the rounds' ratios.
    ratio: f64,
    ratio_range: [f64; 2],
    cpu_s_per_million: f64,
    redis_cpu_us_per_message: f64,
    /// Messages for each second of Redis' processor time.
    msgs_per_redis_core: f64,
    round_trips_per_message: f64,
    redis_peak_mb: f64,
    peak_rss_mb: f64,
    rounds: usize,
}

impl Case {
    const fn new(name: &'static str, work: Work, topic: &'static Topic, beside: &'static str) -> Self {
        Self {
            name,
            work,
            topic,
            beside,
        }
    }

    /// Find a case by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CASES.iter().copied().find(|case| case.name == name)
    }

    /// One worker that waits for each answer takes a fraction of the messages: a tenth of them shows it.
    fn messages(&self, at_most: u64) -> u64 {
        let messages = self.topic.messages.min(at_most);
        match self.work {
            Work::Sequential(1) => messages / 10,
            _ => messages,
        }
    }
}

/// Run a case in this process.
///
/// # Errors
/// Whatever keeps it from its end.
pub fn here(case: &Case, asking: &Asking, group: &str) -> Result<Report> {
    let messages = case.messages(asking.messages);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::begin(&asking.redis).await?;
        let measurement = match case.work {
            Work::Sequential(workers) => {
                let config = baseline::options(&asking.bootstrap, group, &asking.tuning);
                sequential::run(config, case.topic, messages, workers, &server).await?
            }
            Work::Unordered | Work::Ordered(_) => {
                let settings = application::kafka(&asking.bootstrap, group, &asking.tuning)?;
                let settings = handler::with_redis(settings, &asking.redis);
                handler::run(case, settings, messages).await?
            }
        };
        Ok(Report {
            measurement,
            redis: server.cost().await?,
        })
    })
}

/// Run a case in this process with everything in memory.
///
/// # Errors
/// It is a case of Redis alone, or its handler fails.
pub fn embedded(case: &Case, messages: u64) -> Result<Measurement> {
    ensure!(
        !matches!(case.work, Work::Sequential(_)) && case.topic == &topic::KEYED,
        "`{}` needs servers",
        case.name
    );
    handler::run_embedded(case, messages)
}

/// Run all cases in alternation, print what they cost, and return what was promised.
///
/// # Errors
/// A case fails.
pub fn ask(asking: &Asking) -> Result<Vec<Goal>> {
    let wanted = |case: &&Case| asking.names.is_empty() || asking.names.iter().any(|name| name == case.name);
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    for case in &cases {
        case.topic.provide(&asking.bootstrap)?;
    }
    let mut reports: Vec<Vec<Report>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..asking.rounds {
        for step in 0..cases.len() {
            let place = (step + round) % cases.len();
            let report = apart(cases[place], asking)?;
            eprintln!(
                "round {} of {}: {} {:.0} messages/s",
                round + 1,
                asking.rounds,
                cases[place].name,
                report.measurement.rate()
            );
            reports[place].push(report);
        }
    }
    let beside = |case: &Case| cases.iter().position(|other| other.name == case.beside);
    let lines: Vec<Line> = cases
        .iter()
        .zip(&reports)
        .map(|(case, own)| line(case.name, own, beside(case).map_or(own, |place| &reports[place])))
        .collect();
    for line in &lines {
        if asking.json {
            println!("{}", serde_json::to_string(line)?);
        } else {
            println!("{line}");
        }
    }
    Ok(lines.iter().flat_map(goals).collect())
}

fn apart(case: &Case, asking: &Asking) -> Result<Report> {
    let group = child::new_group(case.name)?;
    let mut arguments = vec!["--case".to_owned(), case.name.to_owned()];
    arguments.extend(child::at(&asking.bootstrap, &group));
    arguments.extend(["--redis".to_owned(), asking.redis.clone()]);
    arguments.extend(["--messages".to_owned(), asking.messages.to_string()]);
    for (name, value) in &asking.tuning {
        arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    let report = child::run(case.name, &arguments)?;
    if matches!(case.work, Work::Ordered(_) | Work::Unordered) {
        let (committed, handled) = (
            case.topic.committed(&asking.bootstrap, &group)?,
            case.messages(asking.messages),
        );
        // Of a topic that was read in part, what lies behind a message that is missing is not committed.
        ensure!(
            committed >= handled || handled < case.topic.messages,
            "case `{}` handled {handled} messages and committed {committed}",
            case.name
        );
    }
    Ok(report)
}

fn line(case: &'static str, own: &[Report], beside: &[Report]) -> Line {
    let of = |figure: &dyn Fn(&Report) -> f64| median(own.iter().map(figure).collect());
    let messages = |report: &Report| report.measurement.messages as f64;
    let mut ratios: Vec<f64> = own
        .iter()
        .zip(beside)
        .map(|(own, beside)| own.measurement.rate() / beside.measurement.rate())
        .collect();
    ratios.sort_by(f64::total_cmp);
    Line {
        case,
        msgs_per_s: of(&|report| report.measurement.rate()),
        ratio: median(ratios.clone()),
        ratio_range: [ratios[0], ratios[ratios.len() - 1]],
        cpu_s_per_million: of(&|report| report.measurement.cpu_per_million()),
        redis_cpu_us_per_message: of(&|report| report.redis.cpu_seconds * 1e6 / messages(report)),
        msgs_per_redis_core: of(&|report| messages(report) / report.redis.cpu_seconds),
        round_trips_per_message: of(&|report| report.redis.calls as f64 / messages(report)),
        redis_peak_mb: of(&|report| report.redis.peak_mb),
        peak_rss_mb: of(&|report| report.measurement.peak_rss_mb),
        rounds: own.len(),
    }
}

fn goals(line: &Line) -> Vec<Goal> {
    match line.case {
        "sticky" => vec![
            Goal::at_least("sticky: ratio to unordered", line.ratio, 0.6),
            Goal::below(
                "sticky: round trips a message",
                line.round_trips_per_message,
                0.05,
            ),
        ],
        "scattered" => vec![
            Goal::at_least(
                "scattered: messages for a second of Redis",
                line.msgs_per_redis_core,
                15_000.0,
            ),
            Goal::at_least("scattered: ratio to sequential", line.ratio, 4.0),
        ],
        _ => Vec::new(),
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<14} {:>8.0} messages/s, ratio {:.2} ({:.2} to {:.2}), CPU {:.2} s per million, {:.0} MB; \
             Redis: {:.1} us and {:.3} round trips a message, {:.0} messages a core, {:.0} MB",
            self.case,
            self.msgs_per_s,
            self.ratio,
            self.ratio_range[0],
            self.ratio_range[1],
            self.cpu_s_per_million,
            self.peak_rss_mb,
            self.redis_cpu_us_per_message,
            self.round_trips_per_message,
            self.msgs_per_redis_core,
            self.redis_peak_mb
        )
    }
}
