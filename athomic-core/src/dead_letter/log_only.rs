//! Strategy `logging_only`: an error event with the coordinates, by which the record can be found in its
//! topic. Payload and headers are never logged; they may hold secrets.

use std::time::Duration;

use super::{Chain, TARGET};
use crate::handler::HandlerScope;
use crate::outcome::FailureContext;

/// Log at a level what became of a message that failed: where it stands and why, then what else is told.
macro_rules! log {
    ($level:ident, $scope:ident, $failure:ident, $($told:tt)+) => {
        tracing::$level!(
            target: TARGET,
            handler = %$scope.handler_id,
            group = %$scope.group_id,
            topic = $failure.message.topic(),
            partition = $failure.message.partition(),
            offset = $failure.message.offset(),
            attempt = $failure.attempt,
            stage = $failure.stage.as_str(),
            error = %Chain($failure.error.as_ref()),
            $($told)+
        )
    };
}

/// Log a message that is given up, and what becomes of it.
pub(super) fn dead_letter(scope: &HandlerScope, failure: &FailureContext, fate: &str) {
    log!(error, scope, failure, "message given up: {fate}");
}

/// Log a message that is tried again.
pub(super) fn retry(scope: &HandlerScope, failure: &FailureContext, delay: Duration) {
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    log!(warn, scope, failure, delay_ms, "message failed, trying again");
}

/// Log a message whose failure is ignored, as its handler asked.
pub(super) fn ignored(scope: &HandlerScope, failure: &FailureContext) {
    log!(info, scope, failure, "message failed, ignored");
}
