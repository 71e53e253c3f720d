//! No name of the user's gets into the way of the expansion.

#![deny(warnings)]
#![allow(non_camel_case_types, non_snake_case, dead_code, unused_macros)]

mod core {}
mod std {}
mod alloc {}
mod athomic {}
mod inventory {}

struct Option;
struct Result;
struct String;
struct Handler;
struct Outcome;
struct Some;
struct None;
struct Ok;
struct Err;
struct u64;
struct str;
trait Send {}
trait Future {}
trait FromMessage {}

macro_rules! concat {
    () => {};
}
macro_rules! file {
    () => {};
}
macro_rules! module_path {
    () => {};
}

type Payload = ::std::primitive::u64;

#[::athomic::subscribe_to(topic = "payments.v1", group_id = "g", idempotency_settings(ttl = "1h"))]
async fn payload(payload: Payload, context: ::athomic::handler::Meta) {
    let _ = (payload, context);
}

#[::athomic::subscribe_to(topic = "payments.v1")]
async fn context(_: Payload, _: ::athomic::handler::Meta) {}

#[::athomic::subscribe_to(topic = "payments.v1", batch_size = 10)]
async fn call(_: ::std::vec::Vec<Payload>) {}

#[::athomic::subscribe_to(topic = "payments.v1")]
async fn check(_: Payload, _: ::athomic::handler::State<Payload>) {}

#[::athomic::subscribe_to(topic = "payments.v1")]
async fn states(_: Payload, _: ::athomic::handler::State<Payload>) {}

#[::athomic::subscribe_to(topic = "payments.v1")]
async fn __Handler(_: Payload) {}

#[::athomic::subscribe_to(topic = "payments.v1")]
async fn r#type(r#match: Payload) {
    let _ = r#match;
}

fn main() {}
