//! The opening of a scope, as `open.lua` takes and answers it.

use athomic_core::ordering::StoredPolicies;
use athomic_core::store::ordering::{Loss, Opened, Past};
use athomic_core::store::{Scope, StoreError};

use crate::call::Call;
use crate::reply::{Reply, Unreadable};

/// Write what is said about a scope.
pub(super) fn put(call: &mut Call, scope: &Scope, past: Past) {
    call.text(match past {
        Past::Unasked => "unasked",
        Past::None => "none",
        Past::Some => "some",
        Past::Lost => "lost",
    });
    for (name, ours) in stored(scope) {
        call.text(name).text(&ours);
    }
}

/// Read what was found.
pub(super) fn read(scope: &Scope, mut reply: Reply) -> Result<Result<Opened, StoreError>, Unreadable> {
    match reply.number::<u8>()? {
        1 => Ok(Ok(Opened::Empty)),
        2 => {
            let (name, theirs) = (reply.text()?, reply.text()?);
            let mut stored = stored(scope).into_iter();
            let ours = stored.find(|(policy, _)| *policy == name);
            let (policy, ours) = ours.ok_or(Unreadable("an unknown policy"))?;
            Ok(Err(StoreError::PolicyMismatch { policy, ours, theirs }))
        }
        3 => {
            let (lost, noticed) = (reply.optional()?, reply.number::<u8>()? == 1);
            let now = reply.number()?;
            let lost = lost.map(|at| Loss::of(at, now));
            Ok(Ok(Opened::There { lost, noticed }))
        }
        _ => Err(Unreadable("an unknown code")),
    }
}

/// Return what is kept of a scope besides its state: its name for people, and its policies.
fn stored(scope: &Scope) -> StoredPolicies {
    let mut stored = vec![("scope", scope.title().to_owned())];
    stored.extend(scope.policies().stored());
    stored
}
