//! Medians and ratios, as a table and as JSON.

use serde::Serialize;

use crate::case::Case;
use crate::measurement::Measurement;
use crate::rounds::{Results, Variant};
use crate::statistics::median;

/// What a case cost, over all rounds.
///
/// The figures are medians. A ratio is the median of the rounds' ratios, because the two that are
/// compared ran close to each other only within a round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The case's name.
    pub case: String,
    /// Messages a second.
    pub msgs_per_s: f64,
    /// The same of the baseline: the first case.
    pub baseline_msgs_per_s: f64,
    /// Messages a second in relation to the baseline.
    pub ratio: f64,
    /// The lowest and the highest ratio of a round.
    pub ratio_range: [f64; 2],
    /// Messages a second in relation to the batch loop, if that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_loop_ratio: Option<f64>,
    /// Seconds of processor time for a million messages.
    pub cpu_s_per_million: f64,
    /// The same in relation to the baseline.
    pub cpu_ratio: f64,
    /// The most memory of the process.
    pub peak_rss_mb: f64,
    /// Allocations by Rust code for each message.
    pub allocations_per_message: f64,
    /// Seconds from the start of the process's work to the first message.
    pub first_s: f64,
    /// Seconds from the start of the process's work to the last message.
    pub total_s: f64,
    /// How many messages were handled.
    pub messages: u64,
    /// How many rounds there were.
    pub rounds: usize,
}

/// Put the lines of a report together.
#[must_use]
pub fn lines(variants: &[Variant], results: &Results) -> Vec<Line> {
    let baseline = &results[&0];
    let batch_loop = variants.iter().position(|(case, _)| *case == Case::BATCH_LOOP);
    let line = |(place, (case, tuning)): (usize, &Variant)| {
        let runs = &results[&place];
        let ratios = |of: fn(&Measurement) -> f64, to: &[Measurement]| -> Vec<f64> {
            runs.iter()
                .zip(to)
                .map(|(run, other)| of(run) / of(other))
                .collect()
        };
        let rates = ratios(Measurement::rate, baseline);
        let tuning: Vec<_> = tuning
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        Line {
            case: format!("{case}{}", tuning.concat()),
            msgs_per_s: median_of(runs, Measurement::rate),
            baseline_msgs_per_s: median_of(baseline, Measurement::rate),
            ratio_range: [
                rates.iter().copied().fold(f64::INFINITY, f64::min),
                rates.iter().copied().fold(0.0, f64::max),
            ],
            ratio: median(rates),
            batch_loop_ratio: batch_loop.map(|place| median(ratios(Measurement::rate, &results[&place]))),
            cpu_s_per_million: median_of(runs, Measurement::cpu_per_million),
            cpu_ratio: median(ratios(Measurement::cpu_per_million, baseline)),
            peak_rss_mb: median_of(runs, |run| run.peak_rss_mb),
            allocations_per_message: median_of(runs, |run| run.allocations as f64 / run.messages as f64),
            first_s: median_of(runs, Measurement::seconds_to_first),
            total_s: median_of(runs, |run| run.total_seconds),
            messages: runs[0].messages,
            rounds: runs.len(),
        }
    };
    variants.iter().enumerate().map(line).collect()
}

/// Print a report: one JSON object a line, or a table.
///
/// # Errors
/// Never for these types.
pub fn print(lines: &[Line], as_json: bool) -> serde_json::Result<()> {
    if as_json {
        for line in lines {
            println!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    let width = lines.iter().map(|line| line.case.len()).max().unwrap_or(0).max(4);
    println!(
        "{:width$}  {:>10}  {:>5}  {:>11}  {:>8}  {:>8}  {:>5}  {:>8}  {:>10}  {:>7}",
        "case",
        "messages/s",
        "ratio",
        "range",
        "to batch",
        "CPU s/1M",
        "CPU",
        "peak MB",
        "allocs/msg",
        "first s"
    );
    for line in lines {
        let batch_loop_ratio = line
            .batch_loop_ratio
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let range = format!("{:.2} - {:.2}", line.ratio_range[0], line.ratio_range[1]);
        println!(
            "{:width$}  {:>10.0}  {:>5.2}  {:>11}  {:>8}  {:>8.2}  {:>5.2}  {:>8.0}  {:>10.2}  {:>7.2}",
            line.case,
            line.msgs_per_s,
            line.ratio,
            range,
            batch_loop_ratio,
            line.cpu_s_per_million,
            line.cpu_ratio,
            line.peak_rss_mb,
            line.allocations_per_message,
            line.first_s,
        );
    }
    Ok(())
}

/// Return figures as JSON that tells what they are of.
///
/// # Errors
/// Never for the types of this crate.
pub fn named(name: &str, figures: &impl Serialize) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Named<'a, T> {
        case: &'a str,
        #[serde(flatten)]
        figures: &'a T,
    }
    serde_json::to_string(&Named { case: name, figures })
}

fn median_of(runs: &[Measurement], of: fn(&Measurement) -> f64) -> f64 {
    median(runs.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(seconds: f64) -> Measurement {
        Measurement {
            messages: 100,
            seconds,
            total_seconds: seconds + 1.0,
            cpu_seconds: 2.0 * seconds,
            allocations: 500,
            peak_rss_mb: 10.0,
        }
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let variants = [(Case::POLL_LOOP, vec![]), (Case::SINGLE, vec![])];
        let results = Results::from([
            (0, vec![measurement(1.0), measurement(10.0), measurement(4.0)]),
            (1, vec![measurement(0.5), measurement(5.0), measurement(4.0)]),
        ]);
        let lines = lines(&variants, &results);
        assert_eq!(lines[0].ratio, 1.0);
        assert_eq!(lines[1].ratio, 2.0);
        assert_eq!(lines[1].ratio_range, [1.0, 2.0]);
        assert_eq!(lines[1].allocations_per_message, 5.0);
        assert_eq!(lines[1].batch_loop_ratio, None);
    }
}
