//! What operators see, out of the reply of `inspect.lua`.

use athomic_core::store::ordering::{AggregateReport, ParkedMessage, SkippedRange};

use crate::reply::{Reply, Unreadable};

/// Read an aggregate; nothing if the store does not know it.
pub(super) fn aggregate(key: &str, mut reply: Reply) -> Result<Option<AggregateReport>, Unreadable> {
    if reply.is_empty() {
        return Ok(None);
    }
    let mut fields = reply.nested()?;
    Ok(Some(AggregateReport {
        key: key.to_owned(),
        next: fields.optional()?,
        token: fields.optional()?,
        deliveries: fields.optional()?.unwrap_or_default(),
        parked: fields.optional()?.unwrap_or_default(),
        bytes: fields.optional()?.unwrap_or_default(),
        gap_since: fields.optional()?,
        halted: fields.optional_text()?,
        condemned: fields.optional_text()?,
        skipped: skipped(fields.optional_text()?)?,
        last_error: fields.optional_text()?,
        owner: fields.optional_text()?,
        room: waiting(reply)?,
    }))
}

/// Read what waits.
pub(super) fn room(mut reply: Reply) -> Result<Vec<ParkedMessage>, Unreadable> {
    if reply.is_empty() {
        return Ok(Vec::new());
    }
    reply.value()?;
    waiting(reply)
}

fn waiting(mut reply: Reply) -> Result<Vec<ParkedMessage>, Unreadable> {
    let (mut sequences, mut frames) = (reply.nested()?, reply.nested()?);
    let mut room = Vec::new();
    while !sequences.is_empty() {
        let (sequence, frame) = (sequences.number()?, frames.frame()?);
        room.push(ParkedMessage {
            sequence,
            bytes: frame.len() as u64,
            frame,
        });
    }
    Ok(room)
}

fn skipped(text: Option<String>) -> Result<Option<SkippedRange>, Unreadable> {
    let Some(text) = text else { return Ok(None) };
    // The last of several ranges.
    let last = text.len().checked_sub(40).and_then(|start| text.get(start..));
    let halves = last.and_then(|last| last.split_at_checked(20));
    let range = halves.and_then(|(first, last)| {
        Some(SkippedRange {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    });
    range.map(Some).ok_or(Unreadable("a range was expected"))
}
