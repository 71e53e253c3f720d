//! `OrderingStore`: which message of an aggregate is next, who may run it, and what waits.
//!
//! A store serves one *scope*: the messages of one handler in one group. For each aggregate it knows
//! the next expected sequence, the lease of the process that runs it, and the *room*, where messages
//! wait that came too early. Aggregates are spread over *buckets*; a call concerns elements of any
//! buckets. What it says of one aggregate is carried out in its order as one step, or not at all.
//!
//! # Time
//! Only the store's clock counts: leases end by it, gaps age by it, tokens rise by it.
//!
//! # Contract for implementations
//! - **Idempotence.** Repeating a call with the same arguments leaves the same state as the first one
//!   did, and its answers lead to the same. So an unknown outcome is asked again.
//! - **Exclusion.** A lease is granted only while no live session holds it, and with a token above all
//!   tokens ever granted for the bucket, also after the store lost all that it knew.
//! - **Order.** The next expected sequence rises only by [`complete`](OrderingStore::complete) under the
//!   current token, or by [`steer`](OrderingStore::steer).
//! - **No loss.** A frame in a room is removed only when the aggregate's next sequence has passed it, or
//!   by `steer`.
//! - **Gaps.** The clock of a gap starts when something waits behind what is missing, and anew when a lease
//!   ends that was not given for the gap: by its release, or with its session.
//! - **Progress.** An aggregate whose room is not empty, and that is not halted, becomes
//!   [`due`](OrderingStore::due) again and again.
//!
//! `athomic_core::testing::ordering` has the suite that each implementation passes.

mod aggregate;
mod erased;
mod reports;

pub use aggregate::{Aggregate, Digest, FencingToken, SessionId};
pub use erased::DynOrderingStore;
pub use reports::{AggregateReport, BucketReport, ParkedMessage, SkippedRange};

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::StoreError;

/// One answer for each element of a call, in their order.
pub type Each<T> = Vec<Result<T, StoreError>>;

/// Keeps the order of aggregates. See the module's documentation for the contract.
pub trait OrderingStore: Send + Sync + 'static {
    /// Return how the store is called in errors: its name in the settings, with its address.
    fn name(&self) -> &str;

    /// Check that the store is fit, and that what it holds was made under the same policies; take note of
    /// a loss of its state, so that everybody who opens it from then on is told.
    ///
    /// What it does is one step: of several that open an empty store, one makes it.
    ///
    /// # Errors
    /// [`StoreError::Unfit`], [`StoreError::PolicyMismatch`], or what keeps it from being asked.
    fn open(&self, past: Past) -> impl Future<Output = Result<Opened, StoreError>> + Send;

    /// Keep a session alive in buckets for `ttl` from now, or make it. One answer for each bucket.
    fn beat(
        &self,
        session: SessionId,
        buckets: &[u16],
        ttl: Duration,
    ) -> impl Future<Output = Each<Beat>> + Send;

    /// Ask what to do with messages that arrived.
    fn admit(
        &self,
        session: SessionId,
        limits: RoomLimits,
        arrivals: &[Arrival],
    ) -> impl Future<Output = Each<Admission>> + Send;

    /// Tell which messages are done, or given up, and take what follows: at most `frames` of each
    /// aggregate's room.
    fn complete(
        &self,
        session: SessionId,
        frames: usize,
        completions: &[Completion],
    ) -> impl Future<Output = Each<Completed>> + Send;

    /// Give leases back without having completed what they were for. One that is no longer held under the
    /// token is left as it is.
    fn release(
        &self,
        session: SessionId,
        leases: &[(Aggregate, FencingToken)],
    ) -> impl Future<Output = Each<()>> + Send;

    /// Return aggregates of buckets at which somebody should look now, at most `limit` of each bucket.
    fn due(&self, buckets: &[u16], limit: usize) -> impl Future<Output = Each<Vec<Aggregate>>> + Send;

    /// Take the leases of aggregates whose next message waits in the room.
    fn claim(
        &self,
        session: SessionId,
        terms: ClaimTerms,
        aggregates: &[Aggregate],
    ) -> impl Future<Output = Each<Claim>> + Send;

    /// Return the next expected sequence of each aggregate; `None` if the store does not know it.
    fn probe(&self, aggregates: &[Aggregate]) -> impl Future<Output = Each<Option<u64>>> + Send;

    /// Read frames of a room from a sequence on, in their order, without changing anything.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn read(
        &self,
        aggregate: &Aggregate,
        from: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Frame>, StoreError>> + Send;

    /// Change an aggregate by hand or by policy. Needs no lease; one that is held ends where it says so.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn steer(
        &self,
        aggregate: &Aggregate,
        action: Steering,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Look at buckets.
    fn survey(&self, buckets: &[u16]) -> impl Future<Output = Each<BucketReport>> + Send;

    /// Look at an aggregate and at the first `limit` messages of its room; `None` if the store does not
    /// know it.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn inspect(
        &self,
        aggregate: &Aggregate,
        limit: usize,
    ) -> impl Future<Output = Result<Option<AggregateReport>, StoreError>> + Send;

    /// Write down an event for operators. Old ones are dropped when there are thousands.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn record(&self, event: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Return the latest events, the newest first.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn events(&self, limit: usize) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}

/// How soon somebody should look again at an aggregate that waits for a process. One that waits for a
/// message is looked at thirty times more rarely.
pub const SWEEP: Duration = Duration::from_secs(1);

/// What whoever [opens](OrderingStore::open) a store knows of the scope's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing as yet: where the store is empty, nothing is written and the answer is [`Opened::Empty`].
    Unasked,
    /// There is none: where the store is empty, the scope begins now.
    None,
    /// There is one: where the store is empty, it has lost it.
    Some,
    /// The store has lost state, whatever it holds.
    Lost,
}

/// What [`open`](OrderingStore::open) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing, and nothing was written ([`Past::Unasked`]).
    Empty,
    /// A scope, made now or before.
    There {
        /// When the store lost state last, as far as anybody noticed: what is not known of an aggregate may be
        /// lost.
        lost: Option<Loss>,
        /// Whether that was noticed by this call: by what the caller said, or because the data lives another
        /// life than when it was opened last ([`Beat::generation`]).
        noticed: bool,
    },
}

/// When a store lost state: when that was noticed, that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// By the store's clock, in milliseconds since the Unix epoch.
    pub at: i64,
    /// How long ago that is by the same clock; zero if the clock was set back since.
    pub ago: Duration,
}

impl Loss {
    /// Tell of a loss of a moment at another one, both in milliseconds of the store's clock since the Unix epoch.
    #[must_use]
    pub fn of(at: i64, now: i64) -> Self {
        let ago = u64::try_from(now.saturating_sub(at)).unwrap_or(0);
        Self {
            at,
            ago: Duration::from_millis(ago),
        }
    }
}

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Whose message it is.
    pub aggregate: Aggregate,
    /// Its place.
    pub sequence: u64,
    /// What tells its payload from another one of the same sequence.
    pub digest: Digest,
    /// The record's time in milliseconds, to tell a sequence that begins anew from a late repeat.
    pub time: i64,
    /// What is next where the store does not know the aggregate.
    pub first: First,
    /// The message itself, should it have to wait; without it the answer may be [`Admission::Need`].
    pub frame: Option<Bytes>,
}

/// What is next for an aggregate that the store does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// This sequence; lower ones are invalid.
    Exact(u64),
    /// This one, of which the application or somebody's memory knows; lower ones are duplicates.
    Known(u64),
    /// The one that arrives.
    Seen,
    /// Unknown as yet: what arrives waits, until somebody comes who knows, or for a while, see
    /// [`ClaimTerms::settle`].
    Settle,
    /// Nobody knows: nothing is done and the answer is [`Admission::Unknown`].
    Ask,
}

/// How much may wait. A message that is next is always let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomLimits {
    /// Messages of an aggregate.
    pub messages: u64,
    /// Bytes of an aggregate's frames.
    pub bytes: u64,
    /// Messages of a bucket.
    pub bucket_messages: u64,
    /// Bytes of a bucket's frames.
    pub bucket_bytes: u64,
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is next, and the caller has the lease. Asked again, it is the same grant.
    Run(Grant),
    /// It waits in the room.
    Parked {
        /// Nothing of its aggregate runs until somebody resumes it.
        halted: bool,
    },
    /// It has to wait, and its bytes are wanted.
    Need,
    /// It has to wait, and there is no room.
    Full,
    /// It was done before.
    Duplicate {
        /// Its record is newer than the last one that was done: the sequence may have begun anew.
        newer: bool,
    },
    /// Its sequence was skipped before it came.
    Late,
    /// Another payload has or had its sequence.
    Conflict,
    /// Its sequence lies below the first one of all aggregates, or is `u64::MAX`, which none can follow.
    Invalid,
    /// Ask the application what is next ([`First::Ask`]).
    Unknown,
}

/// A lease on an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Rises with each lease.
    pub token: FencingToken,
    /// How many processes died with the next message begun, as far as is known, and one. The first of them
    /// is taken to have begun it; of the next ones it counts who said so, see [`Steering::Begun`].
    pub deliveries: u32,
    /// Messages are to be given up in their order, not run.
    pub condemned: bool,
    /// Something waits in the room.
    pub waits: bool,
}

/// Messages of an aggregate that are done or given up, under a lease: all from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Whose messages they were.
    pub aggregate: Aggregate,
    /// The place of the first. The next expected sequence must not lie below it, or something is not done.
    pub first: u64,
    /// The place of the last; the next expected sequence becomes the one after it.
    pub last: u64,
    /// The lease.
    pub token: FencingToken,
    /// See [`Arrival::digest`]; that of the last.
    pub digest: Digest,
    /// See [`Arrival::time`]; that of the newest.
    pub time: i64,
    /// Keep the lease although nothing follows.
    pub keep: bool,
    /// They were given up, and so many of them waited in the room: what comes of them is late. If another
    /// number waits there by now, nobody gave those up, and the answer is [`Completed::Fenced`].
    pub skip: Option<u64>,
}

/// How a completion was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// It counts.
    Done {
        /// What follows without a gap. The lease stays if there is any, or if it was to be kept, unless
        /// the aggregate was halted or condemned meanwhile.
        frames: Vec<Frame>,
        /// Whether the lease stays.
        held: bool,
    },
    /// All of it counted before, by an earlier try of the same call.
    Already {
        /// What follows without a gap, if the lease is still there under the same token.
        frames: Vec<Frame>,
        /// Whether the lease is still there under the same token.
        held: bool,
    },
    /// The lease is not the caller's any more, or a sequence below is not done, or what was to be skipped
    /// has come: nothing has changed.
    Fenced,
}

/// A message in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its place.
    pub sequence: u64,
    /// The bytes as they were parked.
    pub bytes: Bytes,
}

/// How claims are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimTerms {
    /// At most so many frames with a lease.
    pub frames: usize,
    /// After how long a gap is told; `None` is never.
    pub gap: Option<Duration>,
    /// Nothing more of them fits: a gap that is told at all is told at once. Not so one whose clock began anew
    /// because a lease ended: who had the lease may have had what is missing.
    pub crowded: bool,
    /// For how long it is waited where nothing is known ([`First::Settle`]), since its first message came.
    pub settle: Duration,
    /// Whether the lowest message begins then; if not, the answer is [`Claim::Unsettled`].
    pub begins: bool,
}

/// How a claim was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The caller has a new lease, and the next messages.
    Granted(Grant, Vec<Frame>),
    /// The caller had the lease already.
    Mine(Grant, Vec<Frame>),
    /// The next message is missing for as long as was asked, and nobody has had the aggregate's lease
    /// meanwhile: who had it may have had the message. The caller has the lease, to act on the gap; it may
    /// give it back, which does not count as having had it.
    Gap {
        /// The lease.
        grant: Grant,
        /// The first sequence that is missing.
        missing: u64,
        /// The first one that is there.
        head: u64,
        /// Since when, in milliseconds of the store's clock since the Unix epoch.
        since: i64,
    },
    /// Somebody else has the lease.
    Busy,
    /// The next message is missing, and not for long enough.
    Waiting,
    /// Nobody knows which message is next, and it was waited for that.
    Unsettled,
    /// It is halted.
    Halted,
    /// Nothing waits.
    Empty,
}

/// How a session stood in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// What it was. One that has lapsed stays so.
    pub state: SessionState,
    /// Aggregates that the session holds and that somebody else has a message for, or has halted or
    /// condemned.
    pub wanted: Vec<Aggregate>,
    /// The last token granted.
    pub token: FencingToken,
    /// Which life of the store's data this is: another one after a restart or a failover.
    pub generation: u64,
    /// Bytes in the bucket's rooms.
    pub bytes: u64,
    /// Messages in the bucket's rooms.
    pub messages: u64,
}

/// What a session was when it beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The store did not know it.
    New,
    /// It was alive.
    Live,
    /// It had lapsed: others may have taken its leases.
    Lapsed,
}

/// What can be done to an aggregate from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steering {
    /// Run nothing more until it is resumed. What runs may end and count; the lease then ends. Who only
    /// keeps it is told that it is wanted, see [`Beat::wanted`].
    Halt {
        /// Shown to operators.
        reason: String,
    },
    /// The same, unless it is known by now which message is next ([`Claim::Unsettled`]). An aggregate that is
    /// halted before that is known goes on when it is.
    HaltUnsettled {
        /// Shown to operators.
        reason: String,
    },
    /// Give up all messages from now on, in their order. What runs may end and count; the lease then ends,
    /// as with [`Halt`](Self::Halt).
    Condemn {
        /// Shown to operators.
        reason: String,
    },
    /// Undo the two above, and expect `next` if it is given, whatever is held or done: a lease is then void.
    /// Without it, where nobody knows what is next, that is the lowest message that waits.
    Resume {
        /// The next expected sequence. Those below it that were not done are skipped: parked ones are
        /// removed, and what comes of them is late.
        next: Option<u64>,
    },
    /// Expect `next` unless as much is expected already, as somebody remembers it; else a lease is void.
    /// An aggregate that was halted while nobody knew where it stood goes on.
    Restore {
        /// The next expected sequence.
        next: u64,
    },
    /// Remove a message from the room.
    Remove {
        /// Its place.
        sequence: u64,
    },
    /// Forget all of the aggregate, what waits included.
    Forget,
    /// Write down that the next message is begun under a lease, if it is still held. Said where
    /// [`Grant::deliveries`] is above one: if this process dies as well, it counts.
    Begun {
        /// The lease.
        token: FencingToken,
    },
    /// Write down how the last attempt failed; nothing else changes.
    Note {
        /// Shown to operators.
        error: String,
    },
}

impl fmt::Display for Steering {
    /// Says what is done, as operators read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Halt { reason } | Self::HaltUnsettled { reason } => write!(f, "halted: {reason}"),
            Self::Condemn { reason } => write!(f, "all messages are given up from now on: {reason}"),
            Self::Resume { next: None } => f.write_str("resumed"),
            Self::Resume { next: Some(next) } => write!(f, "resumed from sequence {next}"),
            Self::Restore { next } => write!(f, "restored to sequence {next}, unless it was there already"),
            Self::Remove { sequence } => write!(f, "sequence {sequence} removed from the waiting room"),
            Self::Forget => f.write_str("forgotten, with all that waited"),
            Self::Begun { token } => write!(f, "begun once more, under token {token}"),
            Self::Note { error } => write!(f, "an attempt failed: {error}"),
        }
    }
}
