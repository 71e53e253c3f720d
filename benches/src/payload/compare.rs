//! Two ways to do the same work, in turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::allocations::allocations;
use crate::statistics::median;

/// How long one way runs before it is the other's turn, at least: so short that some turns are not interrupted by
/// other programs.
const TURN: Duration = Duration::from_millis(1);

/// What a step costs beside the bare library. Throughput is that of the fastest turn: others were interrupted.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Megabytes of the payload before the step, a second.
    pub mb_per_s: f64,
    /// The same of the bare library.
    pub bare_mb_per_s: f64,
    /// Throughput in relation to the bare library.
    pub ratio: f64,
    /// Allocations for each payload.
    pub allocations: f64,
    /// The same of the bare library.
    pub bare_allocations: f64,
}

/// What a way cost in one turn.
#[derive(Clone, Copy)]
struct Turn {
    seconds: f64,
    allocations: f64,
}

/// Let two ways do the same work in turns; each round begins with the other one.
///
/// # Errors
/// One of them fails.
pub async fn compare(
    bytes: usize,
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<()>,
    mut bare: impl AsyncFnMut() -> Result<()>,
) -> Result<Comparison> {
    let times = times_in_a_turn(&mut bare)
        .await?
        .min(times_in_a_turn(&mut ours).await?);
    let mut turns = Vec::with_capacity(rounds);
    for round in 0..rounds {
        turns.push(if round % 2 == 0 {
            let first = turn(times, &mut ours).await?;
            (first, turn(times, &mut bare).await?)
        } else {
            let first = turn(times, &mut bare).await?;
            (turn(times, &mut ours).await?, first)
        });
    }
    let (ours, bare): (Vec<Turn>, Vec<Turn>) = turns.into_iter().unzip();
    let rate = |turns: &[Turn]| {
        let fastest = turns
            .iter()
            .map(|turn| turn.seconds)
            .fold(f64::INFINITY, f64::min);
        bytes as f64 * f64::from(times) / fastest / 1e6
    };
    let each = |turns: &[Turn]| {
        median(
            turns
                .iter()
                .map(|turn| turn.allocations / f64::from(times))
                .collect(),
        )
    };
    Ok(Comparison {
        mb_per_s: rate(&ours),
        bare_mb_per_s: rate(&bare),
        ratio: rate(&ours) / rate(&bare),
        allocations: each(&ours),
        bare_allocations: each(&bare),
    })
}

/// Find out how many times fit into a turn; that warms up too.
async fn times_in_a_turn(work: &mut impl AsyncFnMut() -> Result<()>) -> Result<u32> {
    let mut times = 1;
    loop {
        let seconds = turn(times, work).await?.seconds;
        if seconds >= TURN.as_secs_f64() {
            return Ok(times);
        }
        times *= 2;
    }
}

async fn turn(times: u32, work: &mut impl AsyncFnMut() -> Result<()>) -> Result<Turn> {
    let (began, before) = (Instant::now(), allocations());
    for _ in 0..times {
        work().await?;
    }
    Ok(Turn {
        seconds: began.elapsed().as_secs_f64(),
        allocations: (allocations() - before) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[tokio::test]
    async fn who_does_the_work_twice_has_half_the_throughput() {
        let work = || {
            let mut sum = 0_u64;
            (0..20_000_u64).for_each(|number| sum = std::hint::black_box(sum ^ number));
        };
        let twice = async || {
            work();
            work();
            Ok(())
        };
        let once = async || {
            work();
            Ok(())
        };
        let compared = compare(1000, 9, twice, once).await.unwrap();
        assert!((0.3..0.8).contains(&compared.ratio), "{compared:?}");
        assert!(compared.bare_mb_per_s > compared.mb_per_s, "{compared:?}");
    }
}
