//! The calls of elements, each as its script takes and answers it.

use std::time::Duration;

use athomic_core::store::ordering::{
    Admission, Aggregate, Arrival, Beat, BucketReport, Claim, ClaimTerms, Completed, Completion,
    FencingToken, First, Frame, Grant, RoomLimits, SWEEP, SessionId, SessionState,
};

use super::operation::{Answered, Operation, Sent};
use super::{count, millis};
use crate::call::{self, Call, Script};
use crate::connection::Copies;
use crate::fitness::field;
use crate::reply::{Reply, Unreadable};

/// The most frames of an aggregate that one call returns; Lua cannot take many more at once.
const FRAMES: usize = 1024;

const UNKNOWN_CODE: Unreadable = Unreadable("an unknown code");

type Read<T> = Result<Answered<T>, Unreadable>;

fn session_of(call: &mut Call, session: SessionId) -> &mut Call {
    call.text(&session.to_string())
}

pub(super) struct Admissions {
    pub(super) session: SessionId,
    pub(super) limits: RoomLimits,
    pub(super) copies: Option<Copies>,
}

impl Operation for Admissions {
    type Element = Arrival;
    /// Why what was parked does not count as that.
    type Common = Option<String>;
    type Answer = Admission;

    fn script(&self) -> &'static Script {
        &call::ADMIT
    }

    fn copies(&self) -> Option<Copies> {
        self.copies
    }

    fn put_common(&self, call: &mut Call) {
        session_of(call, self.session)
            .number(self.limits.messages)
            .number(self.limits.bytes)
            .number(self.limits.bucket_messages)
            .number(self.limits.bucket_bytes)
            .number(millis(SWEEP))
            .number(u8::from(self.copies.is_some()));
    }

    fn put(&self, call: &mut Call, arrival: &Arrival) {
        call.sequence(arrival.sequence)
            .digest(arrival.digest)
            .sortable(arrival.time);
        match arrival.first {
            First::Exact(first) => call.tagged_sequence('E', first),
            First::Known(next) => call.tagged_sequence('K', next),
            First::Seen => call.text("S"),
            First::Settle => call.text("T"),
            First::Ask => call.text("A"),
        };
        call.frame(arrival.digest, arrival.frame.as_ref());
    }

    fn common(&self, sent: &mut Sent) -> Result<Option<String>, Unreadable> {
        let Some(wanted) = self.copies else {
            return Ok(None);
        };
        let wanted = if wanted.fsync {
            vec![1, wanted.replicas]
        } else {
            vec![wanted.replicas]
        };
        let is_enough = sent.copies.len() == wanted.len()
            && sent
                .copies
                .iter()
                .zip(&wanted)
                .all(|(count, wanted)| count >= wanted);
        let tell = |counts: &[u32]| match counts {
            [replicas] => format!("{replicas} replicas"),
            [disk, replicas] => format!("{disk} disks and {replicas} replicas"),
            _ => "nobody".to_owned(),
        };
        Ok((!is_enough).then(|| {
            let (wanted, found) = (tell(&wanted), tell(&sent.copies));
            format!("{wanted} are to have what waits, and {found} have it")
        }))
    }

    fn answer(&self, too_few: &Option<String>, _: &Arrival, reply: &mut Reply) -> Read<Admission> {
        let code: u8 = reply.number()?;
        let parked = |halted| match too_few {
            Some(reason) => Answered::TooFew(reason.clone()),
            None => Answered::As(Admission::Parked { halted }),
        };
        Ok(Answered::As(match code {
            1 => Admission::Invalid,
            2 => Admission::Unknown,
            3 => Admission::Late,
            4 => Admission::Conflict,
            5 => Admission::Duplicate { newer: false },
            6 => Admission::Duplicate { newer: true },
            7 => return Ok(parked(false)),
            8 => return Ok(parked(true)),
            9 => Admission::Need,
            10 => Admission::Full,
            11 | 12 => Admission::Run(Grant {
                token: FencingToken(reply.number()?),
                deliveries: reply.number()?,
                condemned: code == 12,
                waits: reply.number::<u64>()? > 0,
            }),
            13 => return Ok(Answered::Lapsed),
            _ => return Err(UNKNOWN_CODE),
        }))
    }
}

pub(super) struct Completions {
    pub(super) session: SessionId,
    pub(super) frames: usize,
    pub(super) ttl: i64,
}

impl Operation for Completions {
    type Element = Completion;
    type Common = ();
    type Answer = Completed;

    fn script(&self) -> &'static Script {
        &call::COMPLETE
    }

    fn put_common(&self, call: &mut Call) {
        session_of(call, self.session)
            .number(count(self.frames.min(FRAMES)))
            .number(millis(SWEEP))
            .number(self.ttl);
    }

    fn put(&self, call: &mut Call, completion: &Completion) {
        call.sequence(completion.first)
            .sequence(completion.last)
            .number(completion.token.get())
            .digest(completion.digest)
            .sortable(completion.time)
            .number(u64::from(completion.keep) + completion.skip.map_or(0, |waiting| 2 + 2 * waiting));
    }

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), completion: &Completion, reply: &mut Reply) -> Read<Completed> {
        let mut reply = Reply::list_or_one(reply.value()?);
        let code: u8 = reply.number()?;
        let frames = frames(reply, completion.last.saturating_add(1))?;
        Ok(Answered::As(match code {
            1 => Completed::Fenced,
            2 => Completed::Already { frames, held: false },
            3 => Completed::Done { frames, held: false },
            4 => Completed::Already { frames, held: true },
            5 => Completed::Done { frames, held: true },
            _ => return Err(UNKNOWN_CODE),
        }))
    }
}

fn frames(reply: Reply, first: u64) -> Result<Vec<Frame>, Unreadable> {
    reply.frames(first)
}

pub(super) struct Releases {
    pub(super) session: SessionId,
    pub(super) ttl: i64,
}

impl Operation for Releases {
    type Element = (Aggregate, FencingToken);
    type Common = ();
    type Answer = ();

    fn script(&self) -> &'static Script {
        &call::RELEASE
    }

    fn put_common(&self, call: &mut Call) {
        session_of(call, self.session)
            .number(millis(SWEEP))
            .number(self.ttl);
    }

    fn put(&self, call: &mut Call, (_, token): &Self::Element) {
        call.number(token.get());
    }

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), _: &Self::Element, reply: &mut Reply) -> Read<()> {
        reply.value()?;
        Ok(Answered::As(()))
    }
}

pub(super) struct Claims {
    pub(super) session: SessionId,
    pub(super) terms: ClaimTerms,
}

impl Operation for Claims {
    type Element = Aggregate;
    type Common = ();
    type Answer = Claim;

    fn script(&self) -> &'static Script {
        &call::CLAIM
    }

    fn put_common(&self, call: &mut Call) {
        session_of(call, self.session)
            .number(count(self.terms.frames.min(FRAMES)))
            .number(self.terms.gap.map_or(-1, millis))
            .number(u8::from(self.terms.crowded))
            .number(millis(self.terms.settle))
            .number(u8::from(self.terms.begins))
            .number(millis(SWEEP));
    }

    fn put(&self, _: &mut Call, _: &Aggregate) {}

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), _: &Aggregate, reply: &mut Reply) -> Read<Claim> {
        let mut reply = Reply::list_or_one(reply.value()?);
        let code: u8 = reply.number()?;
        let claim = match code {
            1 => Claim::Empty,
            2 => Claim::Halted,
            3 => Claim::Busy,
            4 => Claim::Waiting,
            5 => return Ok(Answered::Lapsed),
            6 => {
                let (next, grant) = (reply.number()?, grant(&mut reply)?);
                Claim::Granted(grant, frames(reply, next)?)
            }
            7 => {
                let (next, grant) = (reply.number()?, grant(&mut reply)?);
                Claim::Mine(grant, frames(reply, next)?)
            }
            8 => Claim::Gap {
                missing: reply.number()?,
                grant: grant(&mut reply)?,
                head: reply.number()?,
                since: reply.number()?,
            },
            9 => Claim::Unsettled,
            _ => return Err(UNKNOWN_CODE),
        };
        Ok(Answered::As(claim))
    }
}

/// Read a grant of a claim, which is made where something waits.
fn grant(reply: &mut Reply) -> Result<Grant, Unreadable> {
    Ok(Grant {
        token: FencingToken(reply.number()?),
        deliveries: reply.number()?,
        condemned: reply.number::<u8>()? == 1,
        waits: true,
    })
}

pub(super) struct Beats {
    pub(super) session: SessionId,
    pub(super) ttl: Duration,
}

impl Operation for Beats {
    type Element = u16;
    /// The generation.
    type Common = u64;
    type Answer = Beat;

    fn script(&self) -> &'static Script {
        &call::BEAT
    }

    fn put_common(&self, call: &mut Call) {
        session_of(call, self.session).number(millis(self.ttl));
    }

    fn put(&self, _: &mut Call, _: &u16) {}

    fn common(&self, sent: &mut Sent) -> Result<u64, Unreadable> {
        Ok(generation(&sent.reply.text()?))
    }

    fn answer(&self, generation: &u64, &bucket: &u16, reply: &mut Reply) -> Read<Beat> {
        let mut reply = reply.nested()?;
        let state = match reply.number::<u8>()? {
            1 => SessionState::New,
            2 => SessionState::Live,
            3 => SessionState::Lapsed,
            _ => return Err(UNKNOWN_CODE),
        };
        Ok(Answered::As(Beat {
            state,
            token: FencingToken(reply.number()?),
            generation: *generation,
            bytes: reply.number()?,
            messages: reply.number()?,
            wanted: aggregates(reply, bucket)?,
        }))
    }
}

/// Tell the lives of a server's data apart: another process is another life, and so is another history.
fn generation(info: &str) -> u64 {
    let part = |name| {
        let id = field(info, name).and_then(|id| id.get(..16));
        id.and_then(|id| u64::from_str_radix(id, 16).ok())
            .unwrap_or_default()
    };
    part("run_id") ^ part("master_replid")
}

fn aggregates(reply: Reply, bucket: u16) -> Result<Vec<Aggregate>, Unreadable> {
    let keys = reply.texts()?.into_iter();
    Ok(keys.map(|key| Aggregate::stored(key, bucket)).collect())
}

pub(super) struct Dues {
    pub(super) limit: usize,
}

impl Operation for Dues {
    type Element = u16;
    type Common = ();
    type Answer = Vec<Aggregate>;

    fn script(&self) -> &'static Script {
        &call::DUE
    }

    fn put_common(&self, call: &mut Call) {
        call.number(count(self.limit));
    }

    fn put(&self, _: &mut Call, _: &u16) {}

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), &bucket: &u16, reply: &mut Reply) -> Read<Vec<Aggregate>> {
        Ok(Answered::As(aggregates(reply.nested()?, bucket)?))
    }
}

pub(super) struct Probes;

impl Operation for Probes {
    type Element = Aggregate;
    type Common = ();
    type Answer = Option<u64>;

    fn script(&self) -> &'static Script {
        &call::PROBE
    }

    fn put_common(&self, _: &mut Call) {}

    fn put(&self, _: &mut Call, _: &Aggregate) {}

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), _: &Aggregate, reply: &mut Reply) -> Read<Option<u64>> {
        Ok(Answered::As(reply.optional()?))
    }
}

/// Whether anything waits of aggregates.
pub(super) struct Rooms;

impl Operation for Rooms {
    type Element = Aggregate;
    type Common = ();
    type Answer = bool;

    fn script(&self) -> &'static Script {
        &call::ROOMS
    }

    fn put_common(&self, _: &mut Call) {}

    fn put(&self, _: &mut Call, _: &Aggregate) {}

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), _: &Aggregate, reply: &mut Reply) -> Read<bool> {
        Ok(Answered::As(reply.number::<u64>()? > 0))
    }
}

pub(super) struct Surveys;

impl Operation for Surveys {
    type Element = u16;
    type Common = ();
    type Answer = BucketReport;

    fn script(&self) -> &'static Script {
        &call::SURVEY
    }

    fn put_common(&self, _: &mut Call) {}

    fn put(&self, _: &mut Call, _: &u16) {}

    fn common(&self, _: &mut Sent) -> Result<(), Unreadable> {
        Ok(())
    }

    fn answer(&self, (): &(), &bucket: &u16, reply: &mut Reply) -> Read<BucketReport> {
        let mut reply = reply.nested()?;
        Ok(Answered::As(BucketReport {
            bucket,
            rooms: reply.number()?,
            bytes: reply.number()?,
            messages: reply.number()?,
            oldest_gap_ms: reply.optional()?,
            sessions: reply.number()?,
            halted: reply.nested()?.texts()?,
            waiting: reply.nested()?.texts()?,
        }))
    }
}
