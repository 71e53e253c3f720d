#![deny(warnings)]

use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid {
    id: u64,
    amount: u64,
}

#[derive(Clone)]
struct Repo;

/// The user's own.
struct Tenant(#[allow(dead_code)] String);

impl FromMessage for Tenant {
    fn from_message(_: &MessageContext<'_>) -> Result<Self, ExtractError> {
        Ok(Self(String::new()))
    }
}

#[subscribe_to(topic = "payments.v1")]
async fn all_extractors(
    paid: Paid,
    meta: Meta,
    headers: Headers,
    Key(key): Key<Option<String>>,
    State(_repo): State<Repo>,
    raw: RawMessage,
    publisher: Publisher,
    Tenant(_name): Tenant,
) {
    println!("{} {meta:?} {headers:?} {key:?} {raw:?} {publisher:?}", paid.id);
}

#[subscribe_to(topic = "payments.v1")]
async fn patterns(Paid { id, mut amount }: Paid, mut headers: Headers, _: Meta) {
    amount += id;
    headers = Headers::clone(&headers);
    drop((headers, amount));
}

#[subscribe_to(topic = "payments.v1")]
async fn with_metadata(paid: Message<Paid>) {
    println!("{} {}", paid.id, paid.meta().offset());
}

#[subscribe_to(topic = "payments.v1", target_type = Paid)]
async fn with_metadata_and_target(_paid: Message<Paid>) {}

#[subscribe_to(topic = "payments.v1")]
async fn tombstones(_paid: Option<Paid>) {}

type Lines = Vec<Paid>;

#[subscribe_to(topic = "payments.v1")]
async fn a_list_in_each_message(_lines: Lines) {}

#[subscribe_to(topic = "payments.v1")]
async fn builtin_types(_pair: (u64, String)) {}

#[subscribe_to(topic = "payments.v1", batch_size = 10)]
async fn batch(_paid: Vec<Paid>, State(_repo): State<Repo>, _publisher: Publisher) {}

#[subscribe_to(topic = "payments.v1", batch_size = 10, target_type = Paid)]
async fn batch_with_metadata(paid: std::vec::Vec<Message<Paid>>) {
    for message in paid {
        println!("{}", message.meta().offset());
    }
}

#[subscribe_to(topic = "payments.v1")]
async fn static_state(_paid: Paid, _names: State<&'static [&'static str]>, _check: State<fn(&str) -> bool>) {}

fn main() {}
