//! What happens in a simulation, event by event: the checker reads it, and a reader after a failure.

use std::hash::{DefaultHasher, Hash, Hasher};

use athomic_core::message::{Offset, Partition};

use crate::fate::{Disturbance, Fate, Point};

/// One application with its consumer.
pub(crate) type Instance = usize;

/// One assignment of a partition to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tenure {
    pub(crate) instance: Instance,
    pub(crate) partition: Partition,
    pub(crate) epoch: u64,
}

/// How an attempt at a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    /// The handler is content.
    Done,
    /// The handler returned an error or panicked.
    Failed,
    /// The handler said that another attempt cannot help.
    Refused,
    /// The handler ran for longer than it may.
    TimedOut,
    /// The runtime dropped it.
    Cancelled,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A message is in the log. `key` is `None` if it cannot be decoded.
    Written {
        partition: Partition,
        offset: Offset,
        key: u64,
        decodable: bool,
    },
    /// A message of an aggregate is in the log.
    Sent {
        partition: Partition,
        offset: Offset,
        of: u64,
        sequence: u64,
    },
    /// A message is given up.
    GivenUp(Partition, Offset),
    /// The dead letter of a message is in its topic.
    Letter(Partition, Offset),
    /// The handler of an aggregate's message begins.
    TurnBegun {
        execution: usize,
        instance: Instance,
        of: u64,
        sequence: u64,
        token: u64,
    },
    /// The handler of an aggregate's message has ended.
    TurnEnded { execution: usize, end: End },
    /// The ordering store's clock has jumped, or it has lost what it knew.
    StoreShaken { lost: bool },
    /// The ordering store has granted an aggregate.
    Granted(Instance, u64, u64),
    /// A message waits in the ordering store.
    Parked(u64, u64),
    /// The ordering store has counted an aggregate's message as done, under a token.
    Counted {
        of: u64,
        sequence: u64,
        token: u64,
        skip: bool,
    },
    /// The store has locked a message for an instance.
    Locked(Instance, Partition, Offset),
    /// The store has given a lock up.
    Unlocked(Instance, Partition, Offset),
    /// The store has marked a message as done, as an instance says.
    Marked(Instance, Partition, Offset),
    /// An instance is told to start.
    Starting(Instance),
    /// An instance has stopped in good order.
    Stopped(Instance),
    /// Something goes wrong with a call, or more than a call.
    Struck(Instance, Point, Fate),
    /// Something happens beside all calls.
    Disturbed(Disturbance),
    /// The instance's process is gone.
    Killed(Instance),
    /// An instance learns that it has a partition.
    Assigned(Tenure),
    /// An instance learns that it had a partition.
    Lost(Instance, Partition),
    /// An instance gives a partition back.
    GivenBack(Tenure),
    /// An instance leaves the group.
    Leaving(Instance),
    /// Messages reach an instance.
    Fetched(Tenure, Vec<Offset>),
    /// An instance learns that there is nothing below an offset any more.
    Position(Tenure, Offset),
    /// A handler begins with messages, each with the number of its attempt.
    Begun {
        execution: usize,
        tenure: Tenure,
        messages: Vec<(Offset, u32)>,
    },
    /// A handler has ended.
    Ended {
        execution: usize,
        ends: Vec<(Offset, End)>,
    },
    /// An instance asks for a commit.
    Commit(Instance, Vec<(Partition, Offset)>),
    /// The broker has taken a commit from a member that owned the partition under an epoch.
    Committed {
        epoch: u64,
        partition: Partition,
        offset: Offset,
    },
}

/// All events in their order, with the milliseconds since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    events: Vec<(u128, Event)>,
    hasher: DefaultHasher,
}

impl Trace {
    pub(crate) fn push(&mut self, now: u128, event: Event) {
        (now, &event).hash(&mut self.hasher);
        self.events.push((now, event));
    }

    pub(crate) fn events(&self) -> &[(u128, Event)] {
        &self.events
    }

    /// Return a number that tells traces apart.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
