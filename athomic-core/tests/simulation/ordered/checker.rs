//! What must hold of ordered handlers, whatever happens.
//!
//! - The messages of an aggregate begin and end in their order, each after all lower ones have ended;
//!   where gaps are acted upon, completions rise.
//! - One handler of an aggregate runs at a time, unless the store took the first one's process for dead
//!   while its own clock stood still; then the second one's token is higher.
//! - What the application had handled before is not run; an aggregate that may begin anywhere begins with the
//!   lowest message that waits.
//! - The store counts completions only under the last token that it has granted, and only of messages
//!   that have ended.
//! - What is committed has ended, or waits in a store that is trusted with it.
//! - Only what failed is given up, unless a policy says otherwise. In the end all has ended.

use std::collections::{BTreeMap, BTreeSet};

use athomic_core::message::{Offset, Partition};

use tokio::time::Instant;

use super::{AGGREGATES, Plan, SESSION};
use crate::event::{End, Event, Instance};
use crate::handlers::CONCURRENCY;

/// A message by its aggregate and sequence.
type Message = (u64, u64);

#[derive(Debug)]
struct Turn {
    instance: Instance,
    message: Message,
    token: u64,
}

pub(crate) struct OrderChecker {
    plan: Plan,
    /// What is in the log; `None` is undecodable.
    sent: BTreeMap<(Partition, Offset), Option<Message>>,
    /// Undecodable messages that are given up.
    refused: BTreeSet<(Partition, Offset)>,
    /// Messages that are done, or given up.
    ended: BTreeSet<Message>,
    /// Aggregates that have begun.
    begun: BTreeSet<u64>,
    /// The last sequence done of each aggregate.
    last: BTreeMap<u64, u64>,
    failed: BTreeSet<Message>,
    condemned: BTreeSet<u64>,
    parked: BTreeSet<Message>,
    /// The last token of each aggregate.
    granted: BTreeMap<u64, u64>,
    /// When a token was granted.
    grants: BTreeMap<(u64, u64), Instant>,
    running: BTreeMap<usize, Turn>,
    committed: BTreeMap<Partition, Offset>,
    /// When the store's clock jumped last, or its state was lost.
    shaken: Option<Instant>,
    lost: bool,
    pub(crate) violations: Vec<String>,
}

impl OrderChecker {
    pub(crate) fn new(plan: &Plan) -> Self {
        let before = |of| (1..=plan.handled_before(of)).map(move |sequence| (of, sequence));
        Self {
            plan: plan.clone(),
            begun: BTreeSet::new(),
            sent: BTreeMap::new(),
            refused: BTreeSet::new(),
            ended: (0..AGGREGATES).flat_map(before).collect(),
            last: BTreeMap::new(),
            failed: BTreeSet::new(),
            condemned: BTreeSet::new(),
            parked: BTreeSet::new(),
            granted: BTreeMap::new(),
            grants: BTreeMap::new(),
            running: BTreeMap::new(),
            committed: BTreeMap::new(),
            shaken: None,
            lost: false,
            violations: Vec::new(),
        }
    }

    /// Say whether the store has lost state.
    pub(crate) fn was_lost(&self) -> bool {
        self.lost
    }

    /// Return the lowest sequence of an aggregate that has not ended.
    pub(crate) fn next(&self, of: u64) -> u64 {
        (1..)
            .find(|sequence| !self.ended.contains(&(of, *sequence)))
            .expect("they are finite")
    }

    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        match event {
            Event::Sent {
                partition,
                offset,
                of,
                sequence,
            } => {
                self.sent.insert((*partition, *offset), Some((*of, *sequence)));
            }
            Event::Written {
                partition, offset, ..
            } => {
                self.sent.insert((*partition, *offset), None);
            }
            Event::GivenUp(partition, offset) => self.given_up((*partition, *offset)),
            Event::TurnBegun {
                execution,
                instance,
                of,
                sequence,
                token,
            } => {
                let turn = Turn {
                    instance: *instance,
                    message: (*of, *sequence),
                    token: *token,
                };
                self.begun(*execution, turn);
            }
            Event::TurnEnded { execution, end } => self.turn_ended(*execution, *end),
            Event::Granted(_, of, token) => {
                let before = self.granted.insert(*of, *token);
                // A store that fell back has leases of before, until their holders notice.
                self.demand(before <= Some(*token) || self.lost, || {
                    format!("the token of {of} falls from {before:?} to {token}")
                });
                self.grants.entry((*of, *token)).or_insert_with(Instant::now);
            }
            Event::Parked(of, sequence) => {
                self.parked.insert((*of, *sequence));
            }
            Event::Counted {
                of,
                sequence,
                token,
                skip,
            } => self.counted((*of, *sequence), *token, *skip),
            Event::StoreShaken { lost } => {
                self.lost |= *lost;
                self.shaken = Some(Instant::now());
            }
            Event::Killed(instance) => self.running.retain(|_, turn| turn.instance != *instance),
            Event::Commit(instance, offsets) => {
                for &(partition, offset) in offsets {
                    self.commit(*instance, partition, offset);
                }
            }
            Event::Committed {
                partition, offset, ..
            } => {
                let before = self.committed.insert(*partition, *offset);
                self.demand(before <= Some(*offset), || {
                    format!("the commit of partition {partition} goes down from {before:?} to {offset}")
                });
            }
            _ => {}
        }
    }

    fn begun(&mut self, execution: usize, turn: Turn) {
        let (of, sequence) = turn.message;
        // The store took the one with the lower token for dead, if its clock has jumped since that one's
        // last beat, which may lie a session before the grant.
        let may_be_dead = |token| {
            let granted = self.grants.get(&(of, token));
            granted.is_none_or(|granted| self.shaken.is_some_and(|shaken| shaken + SESSION >= *granted))
        };
        let beside = self.running.values().filter(|other| other.message.0 == of);
        let beside: Vec<_> = beside
            .filter(|other| other.token == turn.token || !may_be_dead(other.token.min(turn.token)))
            .map(|other| format!("{other:?}"))
            .collect();
        self.demand(beside.is_empty(), || format!("{turn:?} runs beside {beside:?}"));
        let granted = self.granted.get(&of).copied();
        self.demand(granted == Some(turn.token) || self.shaken.is_some(), || {
            format!("{turn:?} begins, and {granted:?} was granted last")
        });
        self.demand(sequence > self.plan.handled_before(of), || {
            format!("{turn:?} begins, and the application had handled it before")
        });
        if self.begun.insert(of) && self.plan.begins_anywhere() {
            self.begin_with(turn.message);
        }
        if !self.plan.acts_on_gaps() {
            let next = self.next(of);
            self.demand(sequence <= next, || {
                format!("{turn:?} begins before {next} has ended")
            });
        }
        let instance = turn.instance;
        self.running.insert(execution, turn);
        let count = self
            .running
            .values()
            .filter(|turn| turn.instance == instance)
            .count();
        self.demand(count <= CONCURRENCY, || {
            format!("{count} handlers run in instance {instance}")
        });
    }

    /// Take the messages below an aggregate's first one for done.
    fn begin_with(&mut self, (of, first): Message) {
        let lower: Vec<_> = self.parked.range((of, 0)..(of, first)).copied().collect();
        self.demand(lower.is_empty(), || {
            format!("{of} begins with {first}, and {lower:?} waited")
        });
        self.ended.extend((1..first).map(|sequence| (of, sequence)));
    }

    fn turn_ended(&mut self, execution: usize, end: End) {
        let Some(turn) = self.running.remove(&execution) else {
            return;
        };
        match end {
            End::Done if self.is_stale(&turn) => {
                self.ended.insert(turn.message);
            }
            End::Done => self.done(turn.message),
            End::Failed | End::Refused | End::TimedOut => {
                self.failed.insert(turn.message);
            }
            End::Cancelled => {}
        }
    }

    /// Say whether a handler ended too late where what it handled may have been skipped meanwhile: its
    /// completion is fenced.
    fn is_stale(&self, turn: &Turn) -> bool {
        let granted = self.granted.get(&turn.message.0).copied();
        self.plan.acts_on_gaps() && granted != Some(turn.token)
    }

    fn done(&mut self, message: Message) {
        let (of, sequence) = message;
        let next = self.next(of);
        if self.plan.acts_on_gaps() {
            let last = self.last.get(&of).copied();
            let again = self.ended.contains(&message);
            self.demand(again || last < Some(sequence), || {
                format!("{sequence} of {of} is done first after {last:?}")
            });
        } else {
            self.demand(sequence <= next, || {
                format!("{sequence} of {of} is done before {next}")
            });
        }
        self.ended.insert(message);
        let last = self.last.entry(of).or_default();
        *last = sequence.max(*last);
    }

    fn given_up(&mut self, place: (Partition, Offset)) {
        let Some(Some(message)) = self.sent.get(&place).copied() else {
            self.refused.insert(place);
            return;
        };
        let (of, sequence) = message;
        if !self.plan.acts_on_gaps() {
            let next = self.next(of);
            self.demand(sequence <= next, || {
                format!("{sequence} of {of} is given up before {next}")
            });
            let again = self.ended.contains(&message);
            let deserved = again || self.failed.contains(&message) || self.condemned.contains(&of);
            self.demand(deserved, || {
                format!("{sequence} of {of} is given up and never failed")
            });
        }
        if self.plan.condemns() && self.failed.contains(&message) {
            self.condemned.insert(of);
        }
        self.ended.insert(message);
    }

    fn counted(&mut self, message: Message, token: u64, skip: bool) {
        let granted = self.granted.get(&message.0).copied();
        self.demand(granted == Some(token), || {
            format!("{message:?} counts under {token}, and {granted:?} was granted last")
        });
        self.demand(skip || self.ended.contains(&message), || {
            format!("{message:?} counts and has not ended")
        });
    }

    fn commit(&mut self, instance: Instance, partition: Partition, offset: Offset) {
        let trusts = self.plan.trusts_the_store();
        let is_safe = |place: &(Partition, Offset), message: &Option<Message>| match message {
            None => self.refused.contains(place),
            Some(message) => self.ended.contains(message) || (trusts && self.parked.contains(message)),
        };
        let below = self.sent.range((partition, 0)..(partition, offset));
        let open: Vec<_> = below
            .filter(|(place, message)| !is_safe(place, message))
            .collect();
        let complaint = (!open.is_empty()).then(|| {
            format!("instance {instance} commits partition {partition} at {offset}, and {open:?} are open")
        });
        self.violations.extend(complaint);
    }

    /// Check what must hold after the end.
    pub(crate) fn finish(&mut self) {
        let is_open = |(place, message): (&(Partition, Offset), &Option<Message>)| match message {
            None => !self.refused.contains(place),
            Some(message) => !self.ended.contains(message),
        };
        let lost: Vec<_> = self.sent.iter().filter(|entry| is_open(*entry)).collect();
        let lost = (!lost.is_empty()).then(|| format!("{lost:?} were lost"));
        self.violations.extend(lost);
        let running = std::mem::take(&mut self.running);
        self.demand(running.is_empty(), || format!("{running:?} run after the end"));
    }
}
