//! What may go wrong, and how often: decided by the seed for each call that leaves the process.

use std::time::Duration;

use athomic_core::message::Partition;

use crate::chance::Chance;

/// Where an instance talks to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Point {
    /// It looks whether its topics are there.
    Admin,
    /// It joins the group.
    Join,
    /// It hears of assignments, revocations, losses.
    Event,
    /// It fetches.
    Fetch,
    /// It commits.
    Commit,
    /// It gives partitions back.
    GiveBack,
    /// It leaves the group.
    Leave,
    /// It writes a dead letter.
    Publish,
    /// Its handler is called, or about to return.
    Handler,
    /// Its session beats in the ordering store.
    Beat,
    /// It asks the ordering store about messages.
    Admit,
    /// It tells the ordering store what is done.
    Complete,
    /// It gives leases back.
    Release,
    /// It takes messages out of rooms.
    Claim,
    /// It asks the ordering store something else.
    Store,
    /// It asks the store of locks and marks.
    Marks,
}

impl Point {
    /// Say what can go wrong here: events are not asked for, and what a handler does is up to it.
    pub(crate) fn effects(self) -> &'static [Effect] {
        match self {
            Self::Event | Self::Handler => &[],
            Self::Beat
            | Self::Admit
            | Self::Complete
            | Self::Release
            | Self::Claim
            | Self::Store
            | Self::Marks => &[Effect::Fail, Effect::LoseReply, Effect::ComeLate],
            _ => &[Effect::Fail, Effect::LoseReply],
        }
    }

    pub(crate) const ALL: [Self; 16] = [
        Self::Admin,
        Self::Join,
        Self::Event,
        Self::Fetch,
        Self::Commit,
        Self::GiveBack,
        Self::Leave,
        Self::Publish,
        Self::Handler,
        Self::Beat,
        Self::Admit,
        Self::Complete,
        Self::Release,
        Self::Claim,
        Self::Store,
        Self::Marks,
    ];
}

/// Something that happens to the group or the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Disturbance {
    /// One partition is taken and most likely given to the same member again.
    Revoke(Partition),
    /// All partitions change hands.
    Rebalance,
    /// The member that calls is thrown out.
    Expire,
    /// The member that calls hears nothing, and is not heard, for so long.
    Silence(Duration),
    /// The broker cannot be reached for so long.
    Outage(Duration),
    /// The process that calls is gone.
    Kill,
    /// The store cannot be reached for so long.
    StoreOutage(Duration),
    /// The store's clock jumps: to a process it is as if its own had stood still.
    StoreClock(Duration),
    /// The store forgets everything.
    StoreLoss,
    /// The ordering store forgets what was written last.
    StoreFallback,
}

/// One way of a call, there or back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leg {
    /// How often everybody else has a turn first.
    pub(crate) yields: u8,
    pub(crate) delay: Duration,
    /// What happens at its beginning.
    pub(crate) disturbance: Option<Disturbance>,
}

/// What becomes of the call itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Effect {
    #[default]
    Nothing,
    /// It fails and changes nothing.
    Fail,
    /// It is done, and the caller sees a failure.
    LoseReply,
    /// The caller sees a failure, and it is done later.
    ComeLate,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fate {
    pub(crate) there: Leg,
    pub(crate) effect: Effect,
    pub(crate) back: Leg,
}

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Delay,
    Effect(Effect),
    Disturbance(&'static str),
}

impl Kind {
    /// List all that can strike a call.
    pub(crate) fn all(point: Point) -> impl Iterator<Item = Self> {
        let effects = point.effects().iter().map(|effect| Self::Effect(*effect));
        let disturbances = Disturbance::NAMES.map(Self::Disturbance);
        std::iter::once(Self::Delay).chain(effects).chain(disturbances)
    }
}

impl Disturbance {
    const NAMES: [&str; 10] = [
        "revoke",
        "rebalance",
        "expire",
        "silence",
        "outage",
        "kill",
        "store outage",
        "store clock",
        "store loss",
        "store fallback",
    ];

    fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::Revoke(_) => 0,
            Self::Rebalance => 1,
            Self::Expire => 2,
            Self::Silence(_) => 3,
            Self::Outage(_) => 4,
            Self::Kill => 5,
            Self::StoreOutage(_) => 6,
            Self::StoreClock(_) => 7,
            Self::StoreLoss => 8,
            Self::StoreFallback => 9,
        }]
    }
}

impl Leg {
    fn is_smooth(&self) -> bool {
        self.delay.is_zero() && self.disturbance.is_none()
    }
}

impl Fate {
    /// Name what it is made of.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let legs = [self.there, self.back];
        let delays = legs.iter().any(|leg| !leg.delay.is_zero());
        let effect = (self.effect != Effect::Nothing).then_some(Kind::Effect(self.effect));
        let disturbances = legs.into_iter().filter_map(|leg| leg.disturbance);
        let disturbances = disturbances.map(|disturbance| Kind::Disturbance(disturbance.name()));
        delays
            .then_some(Kind::Delay)
            .into_iter()
            .chain(effect)
            .chain(disturbances)
    }

    /// Say whether only the order of things is changed.
    pub(crate) fn is_smooth(&self) -> bool {
        self.there.is_smooth() && self.back.is_smooth() && self.effect == Effect::Nothing
    }
}

/// How much goes wrong in a run: each number is "one in so many". Some runs are nearly calm, so that
/// rare faults are seen without all the others around them.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    delays: u64,
    longest_delay: u64,
    failures: u64,
    disturbances: u64,
    yields: u64,
    partitions: u64,
    /// How many processes may still be killed.
    kills: u8,
    /// Whether there is a store.
    stores: bool,
}

impl Weather {
    pub(crate) fn new(chance: &mut Chance, partitions: Partition, stores: bool) -> Self {
        Self {
            delays: chance.pick(&[3, 6, 12, 40]),
            longest_delay: chance.pick(&[10, 200, 900]),
            failures: chance.pick(&[6, 15, 40, 200]),
            disturbances: chance.pick(&[25, 60, 150, 500]),
            yields: chance.pick(&[1, 2, 4]),
            partitions: partitions.unsigned_abs().into(),
            kills: 3,
            stores,
        }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        let never = u64::MAX;
        (self.delays, self.failures, self.disturbances) = (never, never, never);
        self.kills = 0;
    }

    pub(crate) fn fate(&mut self, chance: &mut Chance, point: Point) -> Fate {
        Fate {
            there: self.leg(chance),
            effect: self.effect(chance, point),
            back: self.leg(chance),
        }
    }

    pub(crate) fn leg(&mut self, chance: &mut Chance) -> Leg {
        let yields = u8::try_from(chance.below(self.yields)).expect("a few");
        let delay = if chance.one_in(self.delays) {
            chance.millis(self.longest_delay)
        } else {
            Duration::ZERO
        };
        let disturbance = chance
            .one_in(self.disturbances)
            .then(|| self.disturbance(chance))
            .flatten();
        Leg {
            yields,
            delay,
            disturbance,
        }
    }

    fn effect(&self, chance: &mut Chance, point: Point) -> Effect {
        let effects = point.effects();
        if effects.is_empty() || !chance.one_in(self.failures) {
            return Effect::Nothing;
        }
        chance.pick(effects)
    }

    pub(crate) fn disturbance(&mut self, chance: &mut Chance) -> Option<Disturbance> {
        Some(match chance.below(if self.stores { 20 } else { 12 }) {
            0..=2 => {
                let partition = chance.below(self.partitions);
                Disturbance::Revoke(Partition::try_from(partition).expect("a few"))
            }
            3 | 4 => Disturbance::Rebalance,
            5..=7 => Disturbance::Expire,
            8 | 9 => Disturbance::Silence(chance.millis(12_000)),
            10 => Disturbance::Outage(chance.millis(8_000)),
            12 | 13 => Disturbance::StoreOutage(chance.millis(9_000)),
            14..=17 => Disturbance::StoreClock(chance.millis(9_000)),
            18 => Disturbance::StoreLoss,
            19 => Disturbance::StoreFallback,
            _ => {
                self.kills = self.kills.checked_sub(1)?;
                Disturbance::Kill
            }
        })
    }
}
