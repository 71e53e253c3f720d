//! The account of an ordered group: what its members noted, held against what was promised.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::note::{Turn, What};
use crate::rig::{Rig, Worker};
use crate::wait::now;

/// What a test allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed<'a> {
    /// So many ends more than there are events (C4).
    pub repeats: usize,
    /// Who stood still for longer than its session: it may still have run what others began, under a lower
    /// token (C3).
    pub stalled: &'a [&'a str],
    /// Events that do not end, since they are given up.
    pub dead: &'a [(&'a str, u64)],
}

/// What the members of an ordered group have noted.
#[derive(Debug)]
pub struct OrderedAccount {
    journals: Vec<Journal>,
    turns: Vec<Turn>,
    ended: HashSet<(String, u64)>,
    by_worker: HashMap<&'static str, u64>,
    samples: Vec<Sample>,
    folder: String,
}

/// A journal, and how far it was read.
#[derive(Debug)]
struct Journal {
    file: PathBuf,
    worker: &'static str,
    read: usize,
}

/// What was committed at a moment.
#[derive(Debug)]
struct Sample {
    nanos: u128,
    committed: BTreeMap<i32, i64>,
}

impl OrderedAccount {
    /// Begin an account without members.
    #[must_use]
    pub fn new(rig: &Rig) -> Self {
        Self {
            journals: Vec::new(),
            turns: Vec::new(),
            ended: HashSet::new(),
            by_worker: HashMap::new(),
            samples: Vec::new(),
            folder: rig.folder(),
        }
    }

    /// Count in what a worker notes.
    pub fn follow(&mut self, worker: &Worker) {
        self.journals.push(Journal {
            file: worker.journal_file().to_owned(),
            worker: worker.name,
            read: 0,
        });
    }

    /// Read what was noted since.
    pub fn update(&mut self) -> &Self {
        for journal in &mut self.journals {
            let text = fs::read_to_string(&journal.file).unwrap_or_default();
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text[journal.read..whole].lines() {
                let turn = Turn::parse(line, journal.worker);
                if turn.what == What::End {
                    self.ended.insert((turn.aggregate.clone(), turn.seq));
                    *self.by_worker.entry(turn.worker).or_default() += 1;
                }
                self.turns.push(turn);
            }
            journal.read = whole;
        }
        self
    }

    /// Return all that was noted, journal by journal.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Return how many events have ended, each counted once.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.ended.len()
    }

    /// Return how many ends a member has noted.
    #[must_use]
    pub fn ended_by(&self, worker: &str) -> u64 {
        self.by_worker.get(worker).copied().unwrap_or(0)
    }

    /// Take note of what is committed now, for C5.
    pub async fn sample(&mut self, rig: &Rig) {
        let committed = rig.committed().await;
        // What is committed by then ended before.
        let nanos = now();
        self.samples.push(Sample { nanos, committed });
    }

    /// Wait until so many events have ended, and take samples meanwhile.
    ///
    /// # Panics
    /// When they have not in time.
    pub async fn until_ended(&mut self, rig: &Rig, events: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.update().ended() < events {
            assert!(
                Instant::now() < deadline,
                "{} of {events} ended within {limit:?}, by {:?}; see {}",
                self.ended(),
                self.by_worker,
                self.folder
            );
            self.sample(rig).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Check C1 to C4 for aggregates with so many events each.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn assert_in_order(&self, counts: &BTreeMap<String, u64>, allowed: Allowed<'_>) {
        let mut by_aggregate: BTreeMap<&str, Vec<&Turn>> = BTreeMap::new();
        for turn in &self.turns {
            by_aggregate.entry(&turn.aggregate).or_default().push(turn);
        }
        let mut repeats = 0;
        for (aggregate, turns) in &mut by_aggregate {
            let count = counts.get(*aggregate);
            let count = *count.unwrap_or_else(|| panic!("nobody published `{aggregate}`"));
            turns.sort_by_key(|turn| turn.nanos);
            let ends = turns.iter().filter(|turn| turn.what == What::End);
            let ends: Vec<_> = ends.copied().collect();
            self.check_order(aggregate, count, &ends, allowed);
            self.check_exclusion(aggregate, turns, allowed);
            let dead = allowed.dead.iter().filter(|(of, _)| of == aggregate).count();
            repeats += (ends.len() + dead).saturating_sub(usize::try_from(count).expect("few"));
        }
        assert_eq!(
            by_aggregate.len(),
            counts.len(),
            "C1: whole aggregates are missing; see {}",
            self.folder
        );
        assert!(
            repeats <= allowed.repeats,
            "C4: {repeats} repeats, {} allowed; see {}",
            allowed.repeats,
            self.folder
        );
        println!("{} events, {repeats} repeated", self.ended());
    }

    /// C1 and C2: each sequence ended, for the first time after all lower ones did.
    fn check_order(&self, aggregate: &str, count: u64, ends: &[&Turn], allowed: Allowed<'_>) {
        let is_dead = |seq: u64| allowed.dead.contains(&(aggregate, seq));
        let mut wanted = (1..=count).filter(|seq| !is_dead(*seq)).peekable();
        let mut highest = 0;
        for end in ends {
            if wanted.peek() == Some(&end.seq) {
                wanted.next();
                highest = end.seq;
            } else {
                assert!(
                    end.seq <= highest,
                    "C2: {end:?} came before {:?}; see {}",
                    wanted.peek(),
                    self.folder
                );
            }
        }
        let missing = wanted.next();
        assert_eq!(
            missing, None,
            "C1: `{aggregate}` is missing {missing:?} of {count}; see {}",
            self.folder
        );
    }

    /// C3: one attempt at a time, under tokens that never fall. Only who stood still for too long may end
    /// what others have begun, under a lower token.
    fn check_exclusion(&self, aggregate: &str, turns: &[&Turn], allowed: Allowed<'_>) {
        let mut running: Option<&Turn> = None;
        let mut token = 0;
        for turn in turns {
            let is_late = turn.token < token && allowed.stalled.contains(&turn.worker);
            if turn.what == What::Start {
                assert!(
                    turn.token >= token,
                    "C3: {turn:?} began under a lower token than {token}; see {}",
                    self.folder
                );
                // What began before and did not end was killed, cancelled or stalled: its successor has a
                // higher token, unless it is the same process that tries again.
                if let Some(before) = running {
                    assert!(
                        before.token < turn.token || before.worker == turn.worker,
                        "C3: {turn:?} began while {before:?} ran; see {}",
                        self.folder
                    );
                }
                (running, token) = (Some(*turn), turn.token);
                continue;
            }
            let is_running = running.is_some_and(|start| {
                (start.worker, start.seq, start.token, start.attempt)
                    == (turn.worker, turn.seq, turn.token, turn.attempt)
            });
            assert!(
                is_running || is_late,
                "C3: {turn:?} of `{aggregate}` ended while {running:?} ran; see {}",
                self.folder
            );
            if is_running {
                running = None;
            }
        }
    }

    /// Check C5: no offset was committed before all below it had ended.
    ///
    /// # Panics
    /// When one was.
    pub fn assert_no_early_commit(&self, allowed: Allowed<'_>) {
        let mut ends: HashMap<(i32, i64), u128> = HashMap::new();
        for turn in &self.turns {
            let is_dead = allowed.dead.contains(&(turn.aggregate.as_str(), turn.seq));
            let (place, nanos) = ((turn.partition, turn.offset), turn.nanos);
            match turn.what {
                What::End => ends
                    .entry(place)
                    .and_modify(|first| *first = nanos.min(*first))
                    .or_insert(nanos),
                What::Start | What::Fail if is_dead => ends.entry(place).or_insert(nanos),
                _ => continue,
            };
        }
        for ((partition, offset), ended) in &ends {
            for sample in &self.samples {
                let committed = sample.committed.get(partition).copied().unwrap_or(0);
                assert!(
                    committed <= *offset || *ended <= sample.nanos,
                    "C5: {committed} of partition {partition} was committed, and {offset} had not ended; see {}",
                    self.folder
                );
            }
        }
    }

    /// Return where journals and logs are, for a failed assertion's text.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }
}
