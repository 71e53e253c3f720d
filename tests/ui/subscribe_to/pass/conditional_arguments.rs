//! Arguments may come and go with `cfg`, the payload too.

#![deny(warnings)]

use athomic::prelude::*;

#[subscribe_to(topic = "payments.v1")]
async fn one(_paid: u64, #[cfg(all())] _meta: Meta, #[cfg(any())] _nothing: Nothing) {}

#[subscribe_to(topic = "payments.v1")]
async fn another(
    #[cfg(any())] _paid: &Nothing,
    #[cfg(not(any()))] _paid: u64,
    #[cfg(all())]
    #[cfg(any())]
    _nothing: Nothing,
) {
}

fn main() {
    fn is_fn<F: Fn(u64, Meta) -> R, R>(_: F) {}
    is_fn(one);
}
