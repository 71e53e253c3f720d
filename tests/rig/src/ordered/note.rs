//! What ordered handlers note: one line for each beginning and each end of an attempt.

/// A line of an ordered journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who noted it.
    pub worker: &'static str,
    /// What happened.
    pub what: What,
    /// The aggregate.
    pub aggregate: String,
    /// The message's sequence within it.
    pub seq: u64,
    /// The fencing token under which it ran.
    pub token: u64,
    /// Which attempt.
    pub attempt: u32,
    /// The message's partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When, in nanoseconds since 1970.
    pub nanos: u128,
}

/// What happened in a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It began.
    Start,
    /// It did its work.
    End,
    /// It failed.
    Fail,
    /// It was about to do its work, and what it writes to had been written under a higher token.
    Refused,
}

impl Turn {
    /// Read `what aggregate seq token attempt partition offset nanos`.
    pub(super) fn parse(line: &str, worker: &'static str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a whole line");
        let what = match word() {
            "S" => What::Start,
            "E" => What::End,
            "F" => What::Fail,
            "R" => What::Refused,
            other => panic!("`{other}` is nothing that a handler notes"),
        };
        Self {
            worker,
            what,
            aggregate: word().to_owned(),
            seq: word().parse().expect("a sequence"),
            token: word().parse().expect("a token"),
            attempt: word().parse().expect("an attempt"),
            partition: word().parse().expect("a partition"),
            offset: word().parse().expect("an offset"),
            nanos: word().parse().expect("a time"),
        }
    }
}
