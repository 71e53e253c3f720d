//! What must hold whatever happens. Reads the events one by one and knows nothing of how the runtime
//! works inside.
//!
//! - Nothing is lost: what is committed was handled or has its dead letter, and in the end that is everything.
//! - A commit covers only what the present assignment has settled, and commits never go down.
//! - Messages of a key (or of a partition, where that is the order) run one at a time and in order.
//! - No more handlers run than may, and no more is in flight than the window holds.
//! - Attempts are counted from 1 in each assignment, without a gap, and end with the last one allowed.
//! - Nothing runs for a partition that was given back, and nothing begins for one that was lost.

use std::collections::{BTreeMap, BTreeSet};

use athomic_core::message::{Offset, Partition};

use crate::event::{End, Event, Instance, Tenure};
use crate::ordered::checker::OrderChecker;

/// Which messages wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Partition,
    Key,
    Nothing,
}

/// What the instances of a run were told to keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) order: Order,
    /// How many executions may run at once in an instance.
    pub(crate) concurrency: Option<usize>,
    /// How many messages may be in flight in a partition.
    pub(crate) window: usize,
    pub(crate) max_attempts: u32,
    /// Whether others go on while a message waits for another instance that has it: in batches with idempotency.
    pub(crate) overtakes: bool,
}

/// A message in the log.
#[derive(Debug, Clone, Copy)]
struct Written {
    key: u64,
    decodable: bool,
}

/// How far an assignment has come with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many attempts have failed.
    Tried(u32),
    Running(u32),
    /// Given up; its dead letter is not written yet.
    Doomed,
    /// Handled, or its dead letter is written.
    Settled,
    /// The attempt was cut short: no more may come of it in this assignment.
    Cancelled,
}

/// What an assignment has seen.
#[derive(Debug, Default)]
struct Progress {
    fetched: BTreeMap<Offset, State>,
    /// Nothing below is left to fetch.
    position: Option<Offset>,
}

/// An execution of a handler.
#[derive(Debug)]
struct Running {
    tenure: Tenure,
    offsets: Vec<Offset>,
}

pub(crate) struct Checker {
    rules: Rules,
    written: BTreeMap<(Partition, Offset), Written>,
    /// What anybody has handled or written a dead letter about.
    settled: BTreeSet<(Partition, Offset)>,
    /// What the store of marks was told to be done: it may be settled without running.
    marked: BTreeSet<(Partition, Offset)>,
    committed: BTreeMap<Partition, Offset>,
    tenures: BTreeMap<Tenure, Progress>,
    /// The epoch under which an instance has a partition now.
    present: BTreeMap<(Instance, Partition), u64>,
    running: BTreeMap<usize, Running>,
    violations: Vec<String>,
    /// Where aggregates are ordered, what must hold instead.
    pub(crate) ordered: Option<OrderChecker>,
}

impl Checker {
    pub(crate) fn new(rules: Rules, ordered: Option<OrderChecker>) -> Self {
        Self {
            rules,
            ordered,
            written: BTreeMap::new(),
            settled: BTreeSet::new(),
            marked: BTreeSet::new(),
            committed: BTreeMap::new(),
            tenures: BTreeMap::new(),
            present: BTreeMap::new(),
            running: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    /// Return what must not have happened.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn held(&self, instance: Instance, partition: Partition) -> Option<Tenure> {
        let epoch = *self.present.get(&(instance, partition))?;
        Some(Tenure {
            instance,
            partition,
            epoch,
        })
    }

    pub(crate) fn holds(&self, tenure: Tenure) -> bool {
        self.held(tenure.instance, tenure.partition) == Some(tenure)
    }

    /// Take note that something must not have happened.
    pub(crate) fn complain(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        if let Some(ordered) = &mut self.ordered {
            ordered.see(event);
            self.violations.append(&mut ordered.violations);
            return self.see_partitions(event);
        }
        match event {
            Event::Written {
                partition,
                offset,
                key,
                decodable,
            } => {
                let (key, decodable) = (*key, *decodable);
                self.written
                    .insert((*partition, *offset), Written { key, decodable });
            }
            Event::Assigned(tenure) => self.assigned(*tenure),
            Event::Lost(instance, partition) => {
                self.present.remove(&(*instance, *partition));
            }
            Event::GivenBack(tenure) => self.given_back(*tenure),
            Event::Leaving(instance) | Event::Stopped(instance) => self.left(*instance),
            Event::Killed(instance) => self.killed(*instance),
            Event::Fetched(tenure, offsets) => self.fetched(*tenure, offsets),
            Event::Position(tenure, offset) => {
                let progress = self.tenures.entry(*tenure).or_default();
                progress.position = progress.position.max(Some(*offset));
            }
            Event::Begun {
                execution,
                tenure,
                messages,
            } => self.begun(*execution, *tenure, messages),
            Event::Ended { execution, ends } => self.ended(*execution, ends),
            Event::Commit(instance, offsets) => {
                for &(partition, offset) in offsets {
                    self.commit(*instance, partition, offset);
                }
            }
            Event::Committed {
                partition, offset, ..
            } => self.committed(*partition, *offset),
            Event::Letter(partition, offset) => self.buried(*partition, *offset),
            Event::Marked(_, partition, offset) => drop(self.marked.insert((*partition, *offset))),
            _ => {}
        }
    }

    /// Take note of who has which partition.
    fn see_partitions(&mut self, event: &Event) {
        match event {
            Event::Assigned(tenure) => self.assigned(*tenure),
            Event::Lost(instance, partition) => {
                self.present.remove(&(*instance, *partition));
            }
            Event::GivenBack(tenure) => self.given_back(*tenure),
            Event::Leaving(instance) | Event::Stopped(instance) => self.left(*instance),
            Event::Killed(instance) => self.killed(*instance),
            _ => {}
        }
    }

    fn assigned(&mut self, tenure: Tenure) {
        let place = (tenure.instance, tenure.partition);
        self.present.insert(place, tenure.epoch);
        let known = self.tenures.insert(tenure, Progress::default());
        self.demand(known.is_none(), || format!("{tenure:?} began twice"));
    }

    fn given_back(&mut self, tenure: Tenure) {
        let runs = self.running.values().any(|running| running.tenure == tenure);
        self.demand(!runs, || {
            format!("{tenure:?} was given back while its handlers ran")
        });
        if self.holds(tenure) {
            self.present.remove(&(tenure.instance, tenure.partition));
        }
    }

    fn left(&mut self, instance: Instance) {
        let runs = self
            .running
            .values()
            .any(|running| running.tenure.instance == instance);
        self.demand(!runs, || {
            format!("instance {instance} left while its handlers ran")
        });
        self.present.retain(|(holder, _), _| *holder != instance);
    }

    fn killed(&mut self, instance: Instance) {
        self.running
            .retain(|_, running| running.tenure.instance != instance);
        self.present.retain(|(holder, _), _| *holder != instance);
    }

    fn fetched(&mut self, tenure: Tenure, offsets: &[Offset]) {
        for offset in offsets {
            let decodable = self.written[&(tenure.partition, *offset)].decodable;
            // No handler sees what cannot be decoded.
            let state = if decodable { State::Tried(0) } else { State::Doomed };
            let progress = self.tenures.entry(tenure).or_default();
            progress.fetched.insert(*offset, state);
            progress.position = progress.position.max(Some(offset + 1));
        }
        let fetched = &self.tenures[&tenure].fetched;
        let is_settled = |(offset, state): &(&Offset, &State)| self.is_settled(tenure, **offset, **state);
        let waiting = fetched.iter().skip_while(is_settled);
        let (in_flight, window) = (waiting.count(), self.rules.window);
        self.demand(in_flight <= window, || {
            format!("{in_flight} messages of {tenure:?} are in flight, {window} may be")
        });
    }

    fn begun(&mut self, execution: usize, tenure: Tenure, messages: &[(Offset, u32)]) {
        let offsets: Vec<_> = messages.iter().map(|(offset, _)| *offset).collect();
        self.demand(self.holds(tenure), || {
            format!("{offsets:?} of {tenure:?} begin after it was given back or lost")
        });
        let company = self.company(tenure, &offsets);
        self.demand(company.is_empty(), || {
            format!("{offsets:?} of {tenure:?} run beside {company:?}")
        });
        let overtaken = self.overtaken(tenure, &offsets);
        self.demand(overtaken.is_empty(), || {
            format!("{offsets:?} of {tenure:?} overtake {overtaken:?}")
        });
        for &(offset, attempt) in messages {
            let state = self.state(tenure, offset).copied();
            let expected = state == Some(State::Tried(attempt - 1)) && attempt <= self.rules.max_attempts;
            self.demand(expected, || {
                format!("attempt {attempt} at {offset} of {tenure:?} follows {state:?}")
            });
            self.set(tenure, offset, State::Running(attempt));
        }
        self.running.insert(execution, Running { tenure, offsets });
        let of_instance = |running: &&Running| running.tenure.instance == tenure.instance;
        let count = self.running.values().filter(of_instance).count();
        self.demand(self.rules.concurrency.is_none_or(|limit| count <= limit), || {
            format!("{count} handlers run in instance {}", tenure.instance)
        });
    }

    /// Find what runs in the same instance and should have ended first.
    fn company(&self, tenure: Tenure, offsets: &[Offset]) -> Vec<(u64, Offset)> {
        let same_partition = |running: &&Running| {
            (running.tenure.instance, running.tenure.partition) == (tenure.instance, tenure.partition)
        };
        let running = self.running.values().filter(same_partition);
        let running = running.flat_map(|running| {
            running
                .offsets
                .iter()
                .map(|offset| (running.tenure.epoch, *offset))
        });
        let waits = |(_, other): &(u64, Offset)| {
            offsets
                .iter()
                .any(|offset| offset == other || self.in_order(tenure.partition, *offset, *other))
        };
        running.filter(waits).collect()
    }

    /// Find what was fetched before, is not settled, and should have been.
    fn overtaken(&self, tenure: Tenure, offsets: &[Offset]) -> Vec<Offset> {
        let Some(progress) = self.tenures.get(&tenure).filter(|_| !self.rules.overtakes) else {
            return Vec::new();
        };
        let open = progress
            .fetched
            .iter()
            .filter(|(offset, state)| **state != State::Doomed && !self.is_settled(tenure, **offset, **state))
            .map(|(offset, _)| *offset)
            .filter(|open| !offsets.contains(open));
        let waits = |open: &Offset| {
            offsets
                .iter()
                .any(|offset| open < offset && self.in_order(tenure.partition, *open, *offset))
        };
        open.filter(waits).collect()
    }

    /// Say whether of two messages of a partition the later one waits for the other.
    fn in_order(&self, partition: Partition, one: Offset, other: Offset) -> bool {
        let key = |offset| self.written.get(&(partition, offset)).map(|written| written.key);
        match self.rules.order {
            Order::Partition => true,
            Order::Key => key(one) == key(other),
            Order::Nothing => false,
        }
    }

    /// Take note that a dead letter is written, whoever has given the message up.
    fn buried(&mut self, partition: Partition, offset: Offset) {
        let mut is_doomed = false;
        for (tenure, progress) in &mut self.tenures {
            let state = progress.fetched.get_mut(&offset);
            if let Some(state) =
                state.filter(|state| tenure.partition == partition && **state == State::Doomed)
            {
                *state = State::Settled;
                is_doomed = true;
            }
        }
        // Written again by who got no answer, or by who was killed on the way.
        let is_known = self.settled.contains(&(partition, offset));
        self.demand(is_doomed || is_known, || {
            format!("{partition}@{offset} has a dead letter, and nobody has given it up")
        });
        self.settled.insert((partition, offset));
    }

    fn ended(&mut self, execution: usize, ends: &[(Offset, End)]) {
        // Of a killed instance.
        let Some(Running { tenure, .. }) = self.running.remove(&execution) else {
            return;
        };
        for &(offset, end) in ends {
            let Some(&State::Running(attempt)) = self.state(tenure, offset) else {
                continue;
            };
            let state = match end {
                End::Done => State::Settled,
                End::Refused => State::Doomed,
                End::Failed | End::TimedOut if attempt == self.rules.max_attempts => State::Doomed,
                End::Failed | End::TimedOut => State::Tried(attempt),
                End::Cancelled => State::Cancelled,
            };
            if state == State::Settled {
                self.settled.insert((tenure.partition, offset));
            }
            self.set(tenure, offset, state);
        }
    }

    fn commit(&mut self, instance: Instance, partition: Partition, offset: Offset) {
        let Some(tenure) = self.held(instance, partition) else {
            return self.complain(format!(
                "instance {instance} commits partition {partition} at {offset} and does not have it"
            ));
        };
        let progress = &self.tenures[&tenure];
        let position = progress.position;
        let open = progress.fetched.range(..offset);
        let open: Vec<_> = open
            .filter(|(offset, state)| !self.is_settled(tenure, **offset, **state))
            .map(|(offset, _)| *offset)
            .collect();
        self.demand(open.is_empty(), || {
            format!("{tenure:?} commits {offset} while {open:?} are not settled")
        });
        self.demand(Some(offset) <= position, || {
            format!("{tenure:?} commits {offset} beyond its position {position:?}")
        });
    }

    fn committed(&mut self, partition: Partition, offset: Offset) {
        let before = self.committed.insert(partition, offset);
        self.demand(before <= Some(offset), || {
            format!("the commit of partition {partition} goes down from {before:?} to {offset}")
        });
        let written = self.written.range((partition, 0)..(partition, offset));
        let lost: Vec<_> = written
            .map(|(place, _)| *place)
            .filter(|place| !self.settled.contains(place))
            .collect();
        self.demand(lost.is_empty(), || {
            format!("partition {partition} is committed at {offset}, and nobody settled {lost:?}")
        });
    }

    /// Check what must hold after the end.
    pub(crate) fn finish(&mut self) {
        if let Some(ordered) = &mut self.ordered {
            ordered.finish();
            return self.violations.append(&mut ordered.violations);
        }
        let lost: Vec<_> = self
            .written
            .keys()
            .filter(|place| !self.settled.contains(place))
            .copied()
            .collect();
        self.demand(lost.is_empty(), || format!("{lost:?} were lost"));
        let running = std::mem::take(&mut self.running);
        self.demand(running.is_empty(), || format!("{running:?} run after the end"));
    }

    /// Say whether a message may be settled in an assignment: it was, or it is a duplicate.
    fn is_settled(&self, tenure: Tenure, offset: Offset, state: State) -> bool {
        state == State::Settled || self.marked.contains(&(tenure.partition, offset))
    }

    fn state(&self, tenure: Tenure, offset: Offset) -> Option<&State> {
        self.tenures.get(&tenure)?.fetched.get(&offset)
    }

    fn set(&mut self, tenure: Tenure, offset: Offset, state: State) {
        if let Some(progress) = self.tenures.get_mut(&tenure) {
            progress.fetched.insert(offset, state);
        }
    }
}
