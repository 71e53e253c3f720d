//! What does each step of the payload pipeline cost beside the bare library?
//!
//! ```text
//! cargo xtask bench payload [STEP...] [--json] [--rounds 100]
//! ```
//!
//! `docs/benchmarks.md` tells the method and the figures. No server is needed.

use anyhow::{Context as _, Result, bail};
use athomic_bench::allocations::Counting;
use athomic_bench::goal::Goal;
use athomic_bench::payload::cases::Case;
use athomic_bench::payload::compare::Comparison;
use athomic_bench::report;
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// About how many bytes of JSON the payloads have.
const SIZES: [(&str, usize); 4] = [
    ("200 B", 200),
    ("2 KB", 2048),
    ("64 KB", 65_536),
    ("1 MB", 1 << 20),
];

/// The least throughput in relation to the bare library: an overhead of 5 %.
const LEAST: f64 = 1.0 / 1.05;

struct Arguments {
    cases: Vec<Case>,
    json: bool,
    rounds: usize,
}

/// A line of the report.
#[derive(Serialize)]
struct Line {
    library: &'static str,
    direction: &'static str,
    size: &'static str,
    #[serde(flatten)]
    compared: Comparison,
    rounds: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if !arguments.json {
        println!("step               direction  size      MB/s  bare MB/s  ratio  allocations     bare");
    }
    let mut goals = Vec::new();
    for case in &arguments.cases {
        let mut lines = Vec::new();
        for (size, bytes) in SIZES {
            let compared = runtime.block_on(case.run(bytes, arguments.rounds));
            let compared = compared.with_context(|| format!("`{}` with {size}", case.name))?;
            for (direction, compared) in ["encode", "decode"].into_iter().zip(compared) {
                lines.push(Line {
                    library: case.library,
                    direction,
                    size,
                    compared,
                    rounds: arguments.rounds,
                });
            }
        }
        lines
            .iter()
            .try_for_each(|line| print(case, line, arguments.json))?;
        goals.extend(lines.iter().map(|line| goal(case, line)));
    }
    goals.iter().for_each(|goal| eprintln!("{goal}"));
    if !goals.iter().all(Goal::is_reached) {
        bail!("not all goals were reached; on a busy machine that says little");
    }
    Ok(())
}

impl Arguments {
    fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut words = words.into_iter();
        let mut arguments = Self {
            cases: Vec::new(),
            json: false,
            rounds: 100,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => arguments.json = true,
                "--rounds" => arguments.rounds = words.next().context("`--rounds` needs a value")?.parse()?,
                _ if word.starts_with('-') => {
                    bail!("`{word}` is unknown; the bench takes steps, --json and --rounds")
                }
                step => arguments.cases.push(Case::named(step)?),
            }
        }
        if arguments.rounds == 0 {
            bail!("there is at least one round");
        }
        if arguments.cases.is_empty() {
            arguments.cases = Case::ALL.to_vec();
        }
        Ok(arguments)
    }
}

fn goal(case: &Case, line: &Line) -> Goal {
    let Line {
        direction,
        size,
        library,
        ..
    } = line;
    let what = format!(
        "{} {direction}, {size}: throughput to that of {library}",
        case.name
    );
    Goal::at_least(&what, line.compared.ratio, LEAST)
}

fn print(case: &Case, line: &Line, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", report::named(case.name, line)?);
        return Ok(());
    }
    let compared = &line.compared;
    println!(
        "{:<17}  {:<9}  {:<5}  {:>7.1}  {:>9.1}  {:>5.2}  {:>11.1}  {:>7.1}",
        case.name,
        line.direction,
        line.size,
        compared.mb_per_s,
        compared.bare_mb_per_s,
        compared.ratio,
        compared.allocations,
        compared.bare_allocations,
    );
    Ok(())
}
