//! Faults on purpose: what may happen to a call on its way to the broker and back.
//!
//! Each call that would cross a network asks the plan first. Rules script single faults ("the next
//! two commits fail"); a generator, usually seeded, decides about all other calls.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::MemberId;
use crate::message::{Partition, PartitionOffset};
use crate::transport::TransportError;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A consumer joins its group. That it joins again after a loss is the group's own affair.
    Join,
    /// A consumer leaves its group.
    Leave,
    /// A stream reads.
    Fetch,
    /// A consumer commits.
    Commit,
    /// A publisher writes one message.
    Publish,
    /// An administrator asks or creates.
    Admin,
}

/// A call on its way to the broker.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'a> {
    /// What it does.
    pub operation: Operation,
    /// The consumer group, where a member calls.
    pub group: Option<&'a str>,
    /// The member that calls; unknown while it joins.
    pub member: Option<MemberId>,
    /// The topic that is fetched from or published to.
    pub topic: Option<&'a str>,
    /// The partition that is fetched from, or the one a publisher asks for.
    pub partition: Option<Partition>,
    /// What is committed.
    pub offsets: &'a [PartitionOffset],
}

impl<'a> Call<'a> {
    pub(super) const fn new(operation: Operation) -> Self {
        Self {
            operation,
            group: None,
            member: None,
            topic: None,
            partition: None,
            offsets: &[],
        }
    }

    pub(super) const fn by(mut self, group: &'a str, member: MemberId) -> Self {
        self.group = Some(group);
        self.member = Some(member);
        self
    }

    pub(super) const fn at(mut self, topic: &'a str, partition: Option<Partition>) -> Self {
        self.topic = Some(topic);
        self.partition = partition;
        self
    }

    /// Say whether the call is about a topic: fetches from it, writes to it or commits in it.
    #[must_use]
    pub fn concerns(&self, topic: &str) -> bool {
        self.topic == Some(topic)
            || self
                .offsets
                .iter()
                .any(|offset| &*offset.partition.topic == topic)
    }
}

/// What happens to one call: time that passes before and after, and an effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    pub(super) delay: Duration,
    pub(super) reply_delay: Duration,
    pub(super) effect: Effect,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Effect {
    #[default]
    Nothing,
    Fail,
    Refuse,
    TooLarge,
    FailAfterApplying,
    Duplicate,
}

impl Fault {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        delay: Duration::ZERO,
        reply_delay: Duration::ZERO,
        effect: Effect::Nothing,
    };

    const fn with(effect: Effect) -> Self {
        Self { effect, ..Self::NONE }
    }

    /// The call fails with a retriable error and changes nothing.
    #[must_use]
    pub const fn fail() -> Self {
        Self::with(Effect::Fail)
    }

    /// The call is not allowed, and changes nothing.
    #[must_use]
    pub const fn refuse() -> Self {
        Self::with(Effect::Refuse)
    }

    /// A message is refused as larger than its topic takes; any other call fails as by [`fail`](Self::fail).
    #[must_use]
    pub const fn too_large() -> Self {
        Self::with(Effect::TooLarge)
    }

    /// The broker does what was asked, but the reply is lost: the caller sees a retriable error.
    #[must_use]
    pub const fn fail_after_applying() -> Self {
        Self::with(Effect::FailAfterApplying)
    }

    /// A message is written twice; any other call is not touched.
    #[must_use]
    pub const fn duplicate() -> Self {
        Self::with(Effect::Duplicate)
    }

    /// The call takes so long to reach the broker.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self::NONE.delayed(delay)
    }

    /// The same, but the call takes so long to reach the broker.
    #[must_use]
    pub const fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same, but the reply takes so long to come back.
    #[must_use]
    pub const fn reply_delayed(mut self, delay: Duration) -> Self {
        self.reply_delay = delay;
        self
    }

    pub(super) fn fails_before(self) -> bool {
        matches!(self.effect, Effect::Fail | Effect::Refuse | Effect::TooLarge)
    }

    /// Return the error of a call that failed.
    pub(super) fn error(self, action: &str) -> TransportError {
        match self.effect {
            Effect::Refuse => TransportError::Forbidden {
                connection: "memory".to_owned(),
                action: action.to_owned(),
                needed: "what a fault takes away".to_owned(),
                source: "a fault that was asked for".into(),
            },
            _ => injected(action),
        }
    }

    pub(super) fn fails_after(self) -> bool {
        self.effect == Effect::FailAfterApplying
    }
}

/// A fault for the next calls of one kind.
///
/// ```
/// use athomic_core::transport::memory::{Fault, FaultRule, Operation};
///
/// // The third and the fourth commit for `orders` fail.
/// let rule = FaultRule::next(Operation::Commit, Fault::fail()).topic("orders").after(2).times(2);
/// # let _ = rule;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct FaultRule {
    operation: Operation,
    fault: Fault,
    group: Option<String>,
    topic: Option<String>,
    partition: Option<Partition>,
    skip: usize,
    times: usize,
}

impl FaultRule {
    /// Strike the next call of this kind.
    pub const fn next(operation: Operation, fault: Fault) -> Self {
        Self {
            operation,
            fault,
            group: None,
            topic: None,
            partition: None,
            skip: 0,
            times: 1,
        }
    }

    /// Strike so many calls instead of one.
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Spare so many calls first.
    pub const fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }

    /// Strike only calls by members of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Strike only calls that concern this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Strike only calls for this partition number.
    pub const fn partition(mut self, partition: Partition) -> Self {
        self.partition = Some(partition);
        self
    }

    fn concerns(&self, call: &Call<'_>) -> bool {
        let partition_fits = |wanted: Partition| {
            let mut committed = call.offsets.iter();
            call.partition == Some(wanted) || committed.any(|offset| offset.partition.partition == wanted)
        };
        self.operation == call.operation
            && self
                .group
                .as_deref()
                .is_none_or(|group| call.group == Some(group))
            && self.topic.as_deref().is_none_or(|topic| call.concerns(topic))
            && self.partition.is_none_or(partition_fits)
    }

    /// Count the call, and strike if it is its turn.
    fn strike(&mut self, call: &Call<'_>) -> Option<Fault> {
        if self.times == 0 || !self.concerns(call) {
            return None;
        }
        if let Some(left) = self.skip.checked_sub(1) {
            self.skip = left;
            return None;
        }
        self.times -= 1;
        Some(self.fault)
    }
}

type Generator = Box<dyn FnMut(&Call<'_>) -> Fault + Send>;

/// All faults to come. Rules are asked first, in their order; the generator decides the rest.
#[derive(Default)]
#[must_use]
pub struct FaultPlan {
    rules: Vec<FaultRule>,
    generator: Option<Generator>,
}

impl FaultPlan {
    /// Plan no fault.
    pub const fn new() -> Self {
        Self {
            rules: Vec::new(),
            generator: None,
        }
    }

    /// Add a rule.
    pub fn with(mut self, rule: FaultRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Decide about each call that no rule strikes. Called once a call, in the order of the calls.
    pub fn driven_by(mut self, generator: impl FnMut(&Call<'_>) -> Fault + Send + 'static) -> Self {
        self.generator = Some(Box::new(generator));
        self
    }

    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let scripted = self.rules.iter_mut().find_map(|rule| rule.strike(call));
        scripted.unwrap_or_else(|| self.generator.as_mut().map_or(Fault::NONE, |decide| decide(call)))
    }

    fn is_empty(&self) -> bool {
        self.generator.is_none() && self.rules.iter().all(|rule| rule.times == 0)
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan")
            .field("rules", &self.rules)
            .field("generated", &self.generator.is_some())
            .finish()
    }
}

/// The plan in force. Has a lock of its own, so that a generator may look at the broker.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Whether there is anything to ask; spares the lock where no fault was ever planned.
    armed: AtomicBool,
    plan: Mutex<FaultPlan>,
}

impl Faults {
    pub(super) fn replace(&self, plan: FaultPlan) {
        let mut current = self.lock();
        self.armed.store(!plan.is_empty(), Ordering::Release);
        *current = plan;
    }

    pub(super) fn add(&self, rule: FaultRule) {
        self.lock().rules.push(rule);
        self.armed.store(true, Ordering::Release);
    }

    pub(super) fn decide(&self, call: &Call<'_>) -> Fault {
        if !self.armed.load(Ordering::Acquire) {
            return Fault::NONE;
        }
        let mut plan = self.lock();
        let fault = plan.decide(call);
        self.armed.store(!plan.is_empty(), Ordering::Release);
        fault
    }

    fn lock(&self) -> MutexGuard<'_, FaultPlan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cause in errors that a fault made.
#[derive(Debug, thiserror::Error)]
#[error("a fault was injected")]
pub struct InjectedFault;

/// The error of a call that a fault struck.
pub(super) fn injected(action: &str) -> TransportError {
    TransportError::Other {
        action: action.to_owned(),
        retriable: true,
        source: Box::new(InjectedFault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plan: &mut FaultPlan, call: Call<'_>, expected: Fault) {
        assert_eq!(plan.decide(&call), expected);
    }

    const PUBLISH: Call<'static> = Call::new(Operation::Publish).at("orders", None);

    #[test]
    fn a_rule_spares_strikes_and_is_spent() {
        let rule = FaultRule::next(Operation::Publish, Fault::fail())
            .after(1)
            .times(2);
        let mut plan = FaultPlan::new().with(rule);
        let expected = [Fault::NONE, Fault::fail(), Fault::fail(), Fault::NONE];
        for fault in expected {
            check(&mut plan, PUBLISH, fault);
        }
        assert!(plan.is_empty());
    }

    #[test]
    fn a_rule_strikes_only_what_it_names() {
        let rule = FaultRule::next(Operation::Publish, Fault::fail())
            .topic("orders")
            .partition(1);
        let mut plan = FaultPlan::new().with(rule.group("g"));
        let call = Call::new(Operation::Publish);
        check(
            &mut plan,
            call.by("g", MemberId(1)).at("others", Some(1)),
            Fault::NONE,
        );
        check(
            &mut plan,
            call.by("g", MemberId(1)).at("orders", Some(0)),
            Fault::NONE,
        );
        check(
            &mut plan,
            call.by("h", MemberId(1)).at("orders", Some(1)),
            Fault::NONE,
        );
        check(
            &mut plan,
            call.by("g", MemberId(1)).at("orders", Some(1)),
            Fault::fail(),
        );
    }

    #[test]
    fn commits_are_matched_by_what_they_commit() {
        let rule = FaultRule::next(Operation::Commit, Fault::fail())
            .topic("orders")
            .partition(2);
        let offsets = [PartitionOffset {
            partition: crate::message::TopicPartition::new("orders", 2),
            offset: 7,
        }];
        let mut call = Call::new(Operation::Commit);
        let mut plan = FaultPlan::new().with(rule);
        check(&mut plan, call, Fault::NONE);
        call.offsets = &offsets;
        check(&mut plan, call, Fault::fail());
    }

    #[test]
    fn the_generator_decides_what_no_rule_strikes() {
        let mut calls = 0;
        let mut plan = FaultPlan::new()
            .with(FaultRule::next(Operation::Publish, Fault::duplicate()))
            .driven_by(move |_call| {
                calls += 1;
                Fault::delay(Duration::from_secs(calls))
            });
        check(&mut plan, PUBLISH, Fault::duplicate());
        check(&mut plan, PUBLISH, Fault::delay(Duration::from_secs(1)));
        check(&mut plan, PUBLISH, Fault::delay(Duration::from_secs(2)));
    }
}
