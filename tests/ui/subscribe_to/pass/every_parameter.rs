#![deny(warnings)]
#![forbid(unsafe_code)]

use athomic::prelude::*;

#[derive(Deserialize)]
struct Paid {
    id: u64,
}

fn by_kind(error: &HandlerError) -> Disposition {
    match error.get_ref().is::<std::io::Error>() {
        true => Disposition::Retry,
        false => Disposition::DeadLetter,
    }
}

fn payment_key(paid: &Paid) -> String {
    paid.id.to_string()
}

#[subscribe_to(
    topic = ["payments.v1", "payments.v2"],
    group_id = "billing",
    target_type = Paid,
    priority = "high",
    concurrency = 64,
    ordering = "key",
    fetch_timeout_ms = 1000,
    fetch_max_linger_ms = 0,
    fetch_max_bytes = 1_048_576,
    connection_name = "analytics",
    idempotency_settings(enabled = true, ttl = "24h", lock_timeout = "1m30s"),
    idempotency_key_resolver = payment_key,
    circuit_breaker(failure_percent = 50, window = "1m", minimum_calls = 20, open_for = "30s", trials = 3),
    retry(max_attempts = 5, classify = by_kind, min_delay = "1s"),
    enable_lineage = false,
    handler_id = "on-paid",
    crate = ::athomic,
)]
async fn on_paid(paid: Paid) -> Result<(), HandlerError> {
    println!("{}", paid.id);
    Ok(())
}

// Words may stand without quotes, and parentheses empty.
#[subscribe_to(topic = "payments.v1", priority = low, ordering = none, idempotency_settings())]
async fn on_paid_later(_paid: Paid) {}

#[subscribe_to(topic = "payments.v1", batch_size = 100, max_batch_linger_ms = 0)]
async fn on_many_paid(_paid: Vec<Paid>) {}

fn by_number(number: &u64) -> Disposition {
    Disposition::RetryAfter(std::time::Duration::from_secs(*number))
}

struct Refused(u64);

impl From<Refused> for Box<dyn std::error::Error + Send + Sync> {
    fn from(refused: Refused) -> Self {
        refused.0.to_string().into()
    }
}

mod refusals {
    pub fn class(refused: &super::Refused) -> athomic::outcome::Disposition {
        super::by_number(&refused.0)
    }
}

#[subscribe_to(topic = "payments.v1", batch_size = 10, retry(classify = refusals::class))]
async fn on_each_paid(paid: Vec<Paid>) -> Vec<Result<(), Refused>> {
    paid.iter().map(|paid| Err(Refused(paid.id))).collect()
}

fn main() {}
