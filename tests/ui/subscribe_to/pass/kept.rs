//! The function stays as it was written: visible, documented, callable, with its other attributes.

#![deny(warnings, missing_docs)]

/// Handlers.
pub mod handlers {
    use athomic::prelude::*;

    /// Documented.
    #[subscribe_to(topic = "payments.v1")]
    #[must_use = "says what happened"]
    #[allow(unused_variables)]
    #[inline]
    pub async fn on_paid(paid: u64) -> Outcome {
        let unused = 1;
        Outcome::Ack
    }

    #[expect(clippy::unused_async, reason = "shows that lints can be expected")]
    #[expect(unused_variables, reason = "shows that lints can be expected")]
    #[subscribe_to(topic = "payments.v1")]
    async fn expected(paid: u64) {}
}

fn main() {
    let _future = handlers::on_paid(1);
}
