//! What the attributes write down about handlers, and where it is found.

use std::time::Duration;

use athomic::handler::register::{HandlerDefinition, HandlerOptions};
use athomic::handler::{
    HandlerKind, Handlers, IdempotencyOptions, MissingState, Ordering, Priority, StateMap,
    SubscriptionOptions,
};
use athomic::ordering::{
    DurabilityRule, FirstSequenceRule, GapAction, GapRule, OnRegression, OrderingOptions,
};
use athomic::payload::Format;
use athomic::prelude::*;
// A crate that nobody names is not linked, and its handlers with it.
use athomic_test_handlers as _;

#[derive(Debug, Deserialize)]
struct Paid {
    id: u64,
}

const REFUNDS: &str = "refunds.v1";

const LINE_BEFORE_ON_PAID: u32 = line!();
#[subscribe_to(topic = "payments.v1")]
async fn on_paid(paid: Paid) -> Result<(), String> {
    if paid.id == 0 {
        Err("no payment".to_owned())
    } else {
        Ok(())
    }
}

fn payment_key(paid: &Paid) -> String {
    paid.id.to_string()
}

#[subscribe_to(
    topic = ["payments.v1", REFUNDS],
    group_id = "billing",
    target_type = Paid,
    priority = "high",
    concurrency = 64,
    ordering = "none",
    fetch_timeout_ms = 1000,
    fetch_max_linger_ms = 0,
    fetch_max_bytes = 1_048_576,
    connection_name = "analytics",
    idempotency_settings(enabled = true, ttl = "24h"),
    idempotency_key_resolver = payment_key,
    codec = "msgpack",
    encrypted = true,
    enable_lineage = false,
    handler_id = "everything",
)]
async fn with_every_parameter(_paid: Message<Paid>, State(_limit): State<u64>) {}

#[subscribe_to(topic = REFUNDS, batch_size = 100, max_batch_linger_ms = 5000, priority = low)]
async fn on_refunds(_refunds: Vec<Message<Option<Paid>>>) {}

#[ordered_consumer(
    topic = "orders.v1",
    group_id = "orders",
    aggregate_key_field = "customer.id",
    sequence_id_field = "version",
    fetch_size = 500,
    idempotency_settings(lock_timeout = "1m30s"),
    first_sequence = 7,
    on_gap = "dlq",
    gap_timeout = "1m30s",
    on_regression = "halt",
    buckets = 16,
    durability = "redis",
    redis_ack_replicas = 2,
    state_ttl = "0s",
    sticky = false
)]
async fn on_order(_order: Order, _token: FencingToken) {}

type Token = FencingToken;

#[subscribe_to(topic = "payments.v1", handler_id = "aliased")]
async fn behind_an_alias(_paid: Paid, _token: Token) {}

#[derive(Deserialize)]
struct Order {
    customer: Customer,
    version: u64,
}

#[derive(Deserialize)]
struct Customer {
    id: String,
}

mod nested {
    use super::*;

    #[subscribe_to(topic = "payments.v1", handler_id = "first")]
    #[subscribe_to(topic = "refunds.v1", handler_id = "second")]
    #[subscribe_to(topic = "chargebacks.v1")]
    async fn r#type(_paid: Paid) {}
}

fn definition(id: &str) -> HandlerDefinition {
    let handlers = Handlers::discover();
    let found = handlers.iter().find(|definition| definition.handler_id == id);
    found
        .unwrap_or_else(|| panic!("no handler `{id}` in {handlers:?}"))
        .clone()
}

#[test]
fn the_function_stays_callable() {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = |id| std::pin::pin!(on_paid(Paid { id })).poll(&mut context);
    assert_eq!(call(1), std::task::Poll::Ready(Ok(())));
    assert_eq!(call(0), std::task::Poll::Ready(Err("no payment".to_owned())));
}

#[test]
fn what_is_left_out_is_left_to_the_settings() {
    let definition = definition("handlers::on_paid");
    assert_eq!(definition.kind, HandlerKind::Subscribed);
    assert_eq!(definition.target_type, "Paid");
    assert_eq!(definition.location.file, file!());
    assert_eq!(definition.location.line, LINE_BEFORE_ON_PAID + 1);
    let nothing_said = HandlerOptions::from(&SubscriptionOptions::new(&["payments.v1"]));
    assert_eq!(format!("{:?}", definition.options), format!("{nothing_said:?}"));
}

#[test]
fn every_parameter_is_written_down() {
    let definition = definition("everything");
    assert_eq!(definition.kind, HandlerKind::Subscribed);
    assert_eq!(definition.target_type, "Paid");
    assert_eq!(definition.connection(), "analytics");
    let options = definition.options;
    assert_eq!(options.topics, ["payments.v1", "refunds.v1"]);
    assert_eq!(options.group_id.as_deref(), Some("billing"));
    assert_eq!(options.priority, Priority::High.into());
    assert_eq!(options.concurrency, Some(64));
    assert_eq!(options.ordering, Some(Ordering::None));
    assert_eq!(options.batch_size, None);
    assert_eq!(options.fetch_timeout_ms, Some(1000));
    assert_eq!(options.fetch_max_linger_ms, Some(0));
    assert_eq!(options.fetch_max_bytes, Some(1_048_576));
    let idempotency = IdempotencyOptions {
        enabled: Some(true),
        ttl: Some(Duration::from_secs(24 * 60 * 60)),
        lock_timeout: None,
    };
    assert_eq!(options.idempotency, Some(idempotency));
    assert!(options.has_idempotency_key_resolver);
    assert_eq!(options.codec, Some(Format::MessagePack));
    assert!(options.encrypted);
    assert_eq!(options.enable_lineage, Some(false));
}

#[test]
fn batches_are_written_down() {
    let definition = definition("handlers::on_refunds");
    assert_eq!(definition.target_type, "Option<Paid>");
    assert_eq!(definition.options.topics, [REFUNDS]);
    assert_eq!(definition.options.batch_size, Some(100));
    assert_eq!(definition.options.max_batch_linger_ms, Some(5000));
    assert_eq!(definition.options.priority, Priority::Low.into());
}

#[test]
fn ordered_consumers_are_written_down() {
    let definition = definition("handlers::on_order");
    let kind = HandlerKind::Ordered {
        aggregate_key_field: "customer.id",
        sequence_id_field: "version",
    };
    assert_eq!(definition.kind, kind);
    assert_eq!(definition.options.group_id.as_deref(), Some("orders"));
    assert_eq!(definition.options.fetch_size, Some(500));
    let lock_timeout = definition
        .options
        .idempotency
        .and_then(|options| options.lock_timeout);
    assert_eq!(lock_timeout, Some(Duration::from_secs(90)));
}

#[test]
fn policies_are_written_down_and_others_left_to_the_settings() {
    let expected = OrderingOptions {
        first_sequence: Some(FirstSequenceRule::Exact(7)),
        on_gap: Some(GapRule::Act(GapAction::DeadLetter)),
        gap_timeout: Some(Duration::from_secs(90)),
        on_regression: Some(OnRegression::Halt),
        buckets: Some(16),
        durability: Some(DurabilityRule::Redis),
        redis_ack_replicas: Some(2),
        state_ttl: Some(Duration::ZERO),
        sticky: Some(false),
        ..OrderingOptions::new()
    };
    assert_eq!(definition("handlers::on_order").options.policies, expected);
    assert!(definition("everything").options.policies.is_empty());
}

#[test]
fn a_fencing_token_is_no_fault_of_an_ordered_handler() {
    let states = StateMap::default();
    assert_eq!(definition("handlers::on_order").processor.check(&states), Ok(()));
    let refused = definition("aliased").processor.check(&states);
    assert_eq!(refused, Err(MissingState::NotOrdered));
}

#[test]
fn a_function_can_have_several_subscriptions() {
    let topics = |id| definition(id).options.topics.concat();
    assert_eq!(topics("first"), "payments.v1");
    assert_eq!(topics("second"), "refunds.v1");
    assert_eq!(topics("handlers::nested::type"), "chargebacks.v1");
}

#[test]
fn handlers_of_other_crates_are_found() {
    let definition = definition("athomic_test_handlers::on_audit");
    assert_eq!(definition.options.topics, ["audit.v1"]);
}

#[test]
fn handlers_are_sorted_by_id() {
    let handlers = Handlers::discover();
    let ids: Vec<_> = handlers
        .iter()
        .map(|definition| definition.handler_id.as_str())
        .collect();
    assert!(ids.is_sorted());
    assert_eq!(ids.len(), 9);
}
