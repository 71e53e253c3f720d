//! Sessions: who is alive, and who is asked for what it holds.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Now, millis};
use super::Bucket;
use crate::store::ordering::{Aggregate, Beat, FencingToken, SessionId, SessionState};

/// After so long a dead session is forgotten.
const SESSION_MEMORY: Duration = Duration::from_secs(600);
/// How many wanted aggregates one beat takes.
const WANTED: usize = 512;

impl Bucket {
    pub(in super::super) fn beat(
        &mut self,
        session: SessionId,
        number: u16,
        ttl: Duration,
        generation: u64,
        now: Now<'_>,
    ) -> Beat {
        let state = match self.sessions.get(&session) {
            None => SessionState::New,
            Some(end) if *end > now.millis() => SessionState::Live,
            Some(_) => SessionState::Lapsed,
        };
        if state != SessionState::Lapsed {
            self.sessions.insert(session, now.millis() + millis(ttl));
        }
        let forgotten = now.millis() - millis(SESSION_MEMORY);
        self.sessions
            .retain(|other, end| *end > forgotten || *other == session);
        let sessions = &self.sessions;
        self.wanted.retain(|(owner, _)| sessions.contains_key(owner));
        let mine = |(owner, _): &&(SessionId, Arc<str>)| *owner == session;
        let wanted: Vec<_> = self.wanted.iter().filter(mine).take(WANTED).cloned().collect();
        for entry in &wanted {
            self.wanted.remove(entry);
        }
        Beat {
            state,
            wanted: wanted
                .into_iter()
                .map(|(_, key)| Aggregate::stored(key, number))
                .collect(),
            token: FencingToken(self.token),
            generation,
            bytes: self.bytes,
            messages: self.messages,
        }
    }
}
