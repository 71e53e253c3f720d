//! The account of a group: what its members have noted so far, and what that proves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::foreign::Foreign;
use crate::journal::Note;
use crate::rig::{Rig, Worker};

/// What the members of a group have noted; grows with each [`update`](Self::update).
#[derive(Debug)]
pub struct Account {
    tails: Vec<Tail>,
    ends: HashMap<(String, u64), Vec<Note>>,
    by_worker: HashMap<&'static str, u64>,
    last_end: BTreeMap<i32, u128>,
    folder: String,
}

impl Account {
    /// Begin an account without members.
    #[must_use]
    pub fn new(rig: &Rig) -> Self {
        Self {
            tails: Vec::new(),
            ends: HashMap::new(),
            by_worker: HashMap::new(),
            last_end: BTreeMap::new(),
            folder: rig.folder(),
        }
    }

    /// Count in what a worker notes.
    pub fn follow(&mut self, worker: &Worker) {
        self.tails.push(Tail::File {
            file: worker.journal_file().to_owned(),
            worker: worker.name,
            read: 0,
            half: String::new(),
        });
    }

    /// Count in what a foreign member notes.
    pub fn follow_foreign(&mut self, member: &Foreign) {
        self.tails.push(Tail::Memory {
            notes: member.notes(),
            read: 0,
        });
    }

    /// Read what was noted since.
    ///
    /// # Panics
    /// When a journal cannot be read.
    pub fn update(&mut self) -> &Self {
        let fresh: Vec<_> = self.tails.iter_mut().flat_map(Tail::fresh).collect();
        for note in fresh.into_iter().filter(|note| note.is_end) {
            *self.by_worker.entry(note.worker).or_default() += 1;
            let last = self.last_end.entry(note.partition).or_default();
            *last = note.nanos.max(*last);
            self.ends
                .entry((note.key.clone(), note.seq))
                .or_default()
                .push(note);
        }
        self
    }

    /// Return how many events have ended, each counted once.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Return how many ends a member has noted.
    #[must_use]
    pub fn handled_by(&self, worker: &str) -> u64 {
        self.by_worker.get(worker).copied().unwrap_or(0)
    }

    /// Return when an event of each partition ended last, in nanoseconds since 1970.
    #[must_use]
    pub fn last_ends(&self) -> &BTreeMap<i32, u128> {
        &self.last_end
    }

    /// Wait until each of so many published events has ended, for two minutes at most.
    ///
    /// # Panics
    /// When one has not, or one ended that was never published.
    pub async fn until_complete(&mut self, events: u64, keys: u64) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.update().handled() < events && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.assert_complete(events, keys);
    }

    /// Check that each of so many published events has ended.
    ///
    /// # Panics
    /// When one has not, or one ended that was never published.
    pub fn assert_complete(&self, events: u64, keys: u64) {
        let key_and_seq = |event: u64| (format!("k{}", event % keys), event / keys);
        let missing: Vec<_> = (0..events)
            .map(key_and_seq)
            .filter(|event| !self.ends.contains_key(event))
            .collect();
        let folder = &self.folder;
        assert!(
            missing.is_empty(),
            "{} of {events} never ended, {:?} among them; by {:?}; see {folder}",
            missing.len(),
            &missing[..missing.len().min(10)],
            self.by_worker
        );
        assert_eq!(
            self.handled(),
            events,
            "nothing ended but what was published; see {folder}"
        );
    }

    /// Check that no event of a key ended for the first time before its predecessor did, so far as those
    /// who noted it `can_tell` the time.
    ///
    /// # Panics
    /// When one did.
    pub fn assert_in_order(&self, can_tell: impl Fn(&Note) -> bool) {
        for ((key, seq), ends) in &self.ends {
            let before = seq
                .checked_sub(1)
                .and_then(|seq| self.ends.get(&(key.clone(), seq)));
            let (Some(before), end) = (before.map(|ends| first(ends)), first(ends)) else {
                continue;
            };
            assert!(
                !(can_tell(before) && can_tell(end)) || before.nanos <= end.nanos,
                "{key} {seq} ended first at {end:?}, its predecessor at {before:?}; see {}",
                self.folder
            );
        }
    }

    /// Return how often events stand in the log beyond the first time, as far as they were handled: what
    /// the producer wrote twice is no repeat of those who consume.
    #[must_use]
    pub fn written_twice(&self) -> u64 {
        self.ends.values().map(|ends| places(ends) - 1).sum()
    }

    /// Return what ended more than once for one place in the log, each with its ends, the earliest first.
    #[must_use]
    pub fn repeats(&self) -> Vec<Vec<Note>> {
        let repeated = self.ends.values().filter(|ends| ends.len() as u64 > places(ends));
        let sorted = repeated.map(|ends| {
            let mut ends = ends.clone();
            ends.sort_by_key(|end| end.nanos);
            ends
        });
        sorted.collect()
    }

    /// Return where journals and logs are, for a failed assertion's text.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

/// Return at how many places in the log an event was handled.
fn places(ends: &[Note]) -> u64 {
    let places: HashSet<(i32, i64)> = ends.iter().map(|end| (end.partition, end.offset)).collect();
    places.len() as u64
}

fn first(ends: &[Note]) -> &Note {
    ends.iter().min_by_key(|end| end.nanos).expect("at least one")
}

/// What one member notes, read on from where it was read last.
#[derive(Debug)]
enum Tail {
    File {
        file: PathBuf,
        worker: &'static str,
        read: u64,
        /// The beginning of a line that was not yet whole.
        half: String,
    },
    Memory {
        notes: Arc<Mutex<Vec<Note>>>,
        read: usize,
    },
}

impl Tail {
    fn fresh(&mut self) -> Vec<Note> {
        match self {
            Self::Memory { notes, read } => {
                let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                let fresh = notes[*read..].to_vec();
                *read = notes.len();
                fresh
            }
            Self::File {
                file,
                worker,
                read,
                half,
            } => {
                let Ok(mut journal) = File::open(file) else {
                    return Vec::new();
                };
                journal.seek(SeekFrom::Start(*read)).expect("a file");
                let begin = half.len();
                journal.read_to_string(half).expect("text");
                *read += (half.len() - begin) as u64;
                let rest = half.split_off(half.rfind('\n').map_or(0, |end| end + 1));
                let whole = std::mem::replace(half, rest);
                whole.lines().map(|line| Note::parse(line, worker)).collect()
            }
        }
    }
}
