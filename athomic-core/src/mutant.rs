//! Mistakes made on purpose, to show that the tests find them.
//!
//! A test of the consume path is worth what it finds. Each mutant is a mistake that such a runtime is
//! prone to, at the place where it would be made; the simulation finds every one of them. They are
//! compiled in only with the feature `mutants`, and then at work only on threads that ask for one.

/// A mistake made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// Commits how far was fetched, not how far was settled.
    CommitsThePosition,
    /// Commits what was acknowledged under an assignment that is over.
    CommitsForAnEarlierAssignment,
    /// Forgets after a reassignment that a partition's window is closed.
    ForgetsTheWindow,
    /// Settles a message that is given up while its dead letter is on its way.
    SettlesBeforeTheDeadLetter,
    /// Begins a new assignment while the handlers of the earlier one may still run.
    BeginsBesideTheEarlierLane,
    /// Lets one commit go before the one before it is done.
    LetsCommitsOvertake,
    /// Gives a partition back without waiting for its handlers.
    GivesBackWithoutDraining,
    /// Stops the partitions that stay, too, when others are revoked.
    StopsRetainedPartitions,
    /// Lets a message of a key run beside the one before it.
    LetsKeysOvertake,
    /// Does not give leave to run back when an attempt fails.
    LosesPermits,
    /// The ordering store counts a completion whoever has the aggregate by now.
    CountsUnderAnyToken,
    /// The ordering store grants an aggregate that a live process has.
    GrantsWhatIsHeld,
    /// The ordering store drops messages out of a room when it hands them out.
    DropsFramesAtClaim,
    /// Settles a message of an aggregate when it begins.
    SettlesAtTheBeginning,
    /// Counts the time of a gap from when the aggregate was first seen.
    CountsGapsFromTheFirstSight,
    /// Goes on with ordered messages when the session is over.
    ForgetsToFence,
    /// Settles a message that waits in the ordering store although Kafka is to keep it.
    SettlesWhatWaits,
    /// Settles a message of an aggregate that is done before the ordering store knows of it.
    SettlesBeforeTheStoreKnows,
    /// Keeps an aggregate for ever that somebody else has messages for.
    KeepsWhatIsWanted,
    /// Marks a message as done before its handler has ended.
    ConfirmsBeforeTheEnd,
    /// The idempotency store gives a lock up whoever has it by now.
    UnlocksUnderAnyToken,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::CommitsThePosition,
        Self::CommitsForAnEarlierAssignment,
        Self::ForgetsTheWindow,
        Self::SettlesBeforeTheDeadLetter,
        Self::BeginsBesideTheEarlierLane,
        Self::LetsCommitsOvertake,
        Self::GivesBackWithoutDraining,
        Self::StopsRetainedPartitions,
        Self::LetsKeysOvertake,
        Self::LosesPermits,
        Self::CountsUnderAnyToken,
        Self::GrantsWhatIsHeld,
        Self::DropsFramesAtClaim,
        Self::SettlesAtTheBeginning,
        Self::CountsGapsFromTheFirstSight,
        Self::ForgetsToFence,
        Self::SettlesWhatWaits,
        Self::SettlesBeforeTheStoreKnows,
        Self::KeepsWhatIsWanted,
        Self::ConfirmsBeforeTheEnd,
        Self::UnlocksUnderAnyToken,
    ];

    /// Say whether it is a mistake with ordered handlers.
    #[must_use]
    pub fn is_of_order(self) -> bool {
        matches!(
            self,
            Self::CountsUnderAnyToken
                | Self::GrantsWhatIsHeld
                | Self::DropsFramesAtClaim
                | Self::SettlesAtTheBeginning
                | Self::CountsGapsFromTheFirstSight
                | Self::ForgetsToFence
                | Self::SettlesWhatWaits
                | Self::SettlesBeforeTheStoreKnows
                | Self::KeepsWhatIsWanted
        )
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Make a mistake on this thread from now on, or none any more.
#[cfg(feature = "mutants")]
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Say whether to make a mistake.
#[cfg(feature = "mutants")]
pub(crate) fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Say whether to make a mistake: never.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}
