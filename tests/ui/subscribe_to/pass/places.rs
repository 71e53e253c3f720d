//! Handlers may stand wherever functions may, except in an `impl`.

#![deny(warnings)]
#![allow(missing_docs)]

mod outer {
    pub(crate) mod inner {
        use athomic::prelude::*;

        #[subscribe_to(topic = "payments.v1")]
        pub(crate) async fn on_paid(_paid: u64) {}
    }
}

macro_rules! handler {
    ($name:ident, $payload:ty, $result:ty, $topic:literal) => {
        #[athomic::subscribe_to(topic = $topic)]
        async fn $name(payload: $payload) -> $result {
            let _ = payload;
            Ok(())
        }
    };
}

handler!(by_macro, u64, Result<(), String>, "payments.v1");
handler!(by_macro_too, Option<u64>, Result<(), String>, "payments.v1");

mod renamed {
    pub mod library {
        pub use athomic;
    }
}

#[athomic::subscribe_to(topic = "payments.v1", crate = renamed::library::athomic)]
async fn by_another_path(_paid: u64) {}

#[cfg_attr(all(), athomic::subscribe_to(topic = "payments.v1"))]
async fn by_condition(_paid: u64) {}

#[cfg_attr(any(), athomic::subscribe_to(topic = "pay ments"))]
async fn not_by_condition(_paid: u64) {}

#[athomic::subscribe_to(topic = "payments.v1", handler_id = "one")]
#[athomic::subscribe_to(topic = "refunds.v1", handler_id = "two")]
async fn two_subscriptions(_paid: u64) {}

fn main() {
    #[athomic::subscribe_to(topic = "payments.v1")]
    async fn in_a_function(_paid: u64) {}

    let _ = outer::inner::on_paid(1);
    let _ = not_by_condition(1);

    let _closure = || {
        #[athomic::subscribe_to(topic = "payments.v1")]
        async fn in_a_closure(_paid: u64) {}
    };
}
