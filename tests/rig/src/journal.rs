//! What the processes that consume note: the start and the end of each message, one a line.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::str::Lines;

/// A line of a journal.
#[derive(Debug, Clone)]
pub struct Note {
    /// Who noted it.
    pub worker: &'static str,
    /// Whether the handler ended; else it began.
    pub is_end: bool,
    /// The message's key.
    pub key: String,
    /// The message's number within its key, from 0.
    pub seq: u64,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When, in nanoseconds since 1970.
    pub nanos: u128,
}

impl Note {
    pub(crate) fn parse(line: &str, worker: &'static str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a whole line");
        Self {
            worker,
            is_end: word() == "E",
            key: word().to_owned(),
            seq: word().parse().expect("a sequence"),
            partition: word().parse().expect("a partition"),
            offset: word().parse().expect("an offset"),
            nanos: word().parse().expect("a time"),
        }
    }
}

/// Return the lines of a text; a last one that is still being written is left out.
pub fn whole_lines(text: &str) -> Lines<'_> {
    text.rfind('\n').map_or("", |end| &text[..end]).lines()
}

/// Read a journal; empty if nothing was noted yet.
pub(crate) fn read(file: &Path, worker: &'static str) -> Vec<Note> {
    let text = fs::read_to_string(file).unwrap_or_default();
    whole_lines(&text).map(|line| Note::parse(line, worker)).collect()
}

/// Return all ends, by key and sequence, the earliest first.
#[must_use]
pub fn ends(notes: &[Note]) -> HashMap<(String, u64), Vec<Note>> {
    let mut ends: HashMap<(String, u64), Vec<Note>> = HashMap::new();
    for note in notes.iter().filter(|note| note.is_end) {
        ends.entry((note.key.clone(), note.seq))
            .or_default()
            .push(note.clone());
    }
    for notes in ends.values_mut() {
        notes.sort_by_key(|note| note.nanos);
    }
    ends
}
