//! Random calls on two stores, which must answer the same.

use std::time::Duration;

use bytes::Bytes;

use crate::store::KeySpace;
use crate::store::delay::{ClaimLimits, DelayEntry, DelayStore, LockToken};
use crate::store::memory::{MemoryDelays, StoreClock};
use crate::testing::space::{Dice, fresh};

/// Make random calls on a store and on the one in memory, and compare all answers.
///
/// `setup` makes the store of a space that goes by a clock.
///
/// # Panics
/// They differ; the message has the seed and the number of the call.
pub async fn differential<S: DelayStore>(
    seed: u64,
    calls: usize,
    setup: impl AsyncFnOnce(&KeySpace, StoreClock) -> S,
) {
    let (space, clock) = fresh();
    let store = setup(&space, clock.clone()).await;
    let model = MemoryDelays::with_clock(clock.clone());
    let mut dice = Dice(seed);
    let mut tokens = vec![LockToken::unique()];
    for call in 0..calls {
        let request = Request::random(&mut dice, &mut tokens);
        let ours = request.ask(&store).await;
        let theirs = request.ask(&model).await;
        assert_eq!(ours, theirs, "seed {seed}, call {call}: {request:?}");
        clock.shift(1_000 * small(dice.below(400)));
    }
}

fn small(number: usize) -> i64 {
    i64::try_from(number).expect("it is small")
}

#[derive(Debug)]
enum Request {
    Schedule(Vec<DelayEntry>),
    Claim(LockToken, Duration, ClaimLimits),
    Hold(LockToken, Vec<String>, Duration),
    Remove(LockToken, Vec<String>),
}

impl Request {
    fn random(dice: &mut Dice, tokens: &mut Vec<LockToken>) -> Self {
        let mut millis = |limit| Duration::from_millis(dice.below(limit) as u64);
        let (delay, lease) = (millis(3_000), millis(1_500));
        let names: Vec<_> = (0..=dice.below(4))
            .map(|_| format!("n{}", dice.below(20)))
            .collect();
        let recent = tokens[tokens.len() - 1 - dice.below(tokens.len().min(4))];
        match dice.below(5) {
            0 | 1 => Self::Schedule(
                names
                    .into_iter()
                    .map(|name| DelayEntry {
                        delay,
                        frame: Bytes::from(vec![b'x'; dice.below(50)]),
                        name,
                    })
                    .collect(),
            ),
            2 => {
                let token = LockToken::unique();
                tokens.push(token);
                let limits = ClaimLimits {
                    entries: 1 + dice.below(5),
                    bytes: dice.below(100),
                };
                Self::Claim(token, lease, limits)
            }
            3 => Self::Hold(
                recent,
                names,
                if dice.below(3) == 0 { Duration::ZERO } else { lease },
            ),
            _ => Self::Remove(recent, names),
        }
    }

    async fn ask(&self, store: &impl DelayStore) -> String {
        match self {
            Self::Schedule(entries) => format!("{:?}", store.schedule(entries).await),
            Self::Claim(token, lease, limits) => format!("{:?}", store.claim(*token, *lease, *limits).await),
            Self::Hold(token, names, lease) => format!("{:?}", store.hold(*token, names, *lease).await),
            Self::Remove(token, names) => format!("{:?}", store.remove(*token, names).await),
        }
    }
}
