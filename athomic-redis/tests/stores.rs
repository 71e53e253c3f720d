//! Redis keeps the contracts of key-value, idempotency and delay stores, alone and as a cluster, and
//! says what it makes of a server that fails.

mod support;

use std::time::Duration;

use athomic_core::store::idempotency::{Acquisition, IdempotencyKey, IdempotencyStore, Lock};
use athomic_core::store::key_value::{Change, KeyValueStore as _};
use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeySpace, StoreError};
use athomic_core::testing::{delay, idempotency, key_value};
use athomic_redis::{RedisDelays, RedisIdempotency, RedisKeyValue};
use support::fake::{Fake, Step};

struct Redis(Option<String>);

impl Redis {
    fn uri(&self) -> &str {
        self.0.as_deref().expect("there is a Redis")
    }
}

fn marks(uri: &str, space: &KeySpace) -> RedisIdempotency {
    RedisIdempotency::connect(&support::settings(uri), space).expect("the URI can be used")
}

fn values(uri: &str, space: &KeySpace) -> RedisKeyValue {
    RedisKeyValue::connect(&support::settings(uri), space).expect("the URI can be used")
}

fn delays(uri: &str, space: &KeySpace) -> RedisDelays {
    RedisDelays::connect(&support::settings(uri), space).expect("the URI can be used")
}

impl delay::TestStores for Redis {
    type Store = RedisDelays;

    async fn store(&self, space: &KeySpace, clock: StoreClock) -> RedisDelays {
        delays(self.uri(), space).driven_by(clock)
    }

    fn available(&self) -> bool {
        self.0.is_some()
    }
}

impl key_value::TestStores for Redis {
    type Store = RedisKeyValue;

    async fn store(&self, space: &KeySpace, clock: StoreClock) -> RedisKeyValue {
        values(self.uri(), space).driven_by(clock)
    }

    fn available(&self) -> bool {
        self.0.is_some()
    }
}

impl idempotency::TestStores for Redis {
    type Store = RedisIdempotency;

    async fn store(&self, space: &KeySpace, clock: StoreClock) -> RedisIdempotency {
        marks(self.uri(), space).driven_by(clock)
    }

    fn available(&self) -> bool {
        self.0.is_some()
    }
}

async fn setup() -> Redis {
    Redis(support::redis())
}

mod of_values {
    use super::setup;
    athomic_core::key_value_conformance!(setup);
}

mod of_marks {
    use super::setup;
    athomic_core::idempotency_conformance!(setup);
}

mod of_delays {
    use super::setup;
    athomic_core::delay_conformance!(setup);
}

#[tokio::test]
async fn random_calls_are_answered_as_by_the_store_in_memory() {
    let Some(uri) = support::redis() else { return };
    for seed in 0..20 {
        let setup = async |space: &KeySpace, clock| marks(&uri, space).driven_by(clock);
        idempotency::differential(seed, 200, setup).await;
        let setup = async |space: &KeySpace, clock| delays(&uri, space).driven_by(clock);
        delay::differential(seed, 200, setup).await;
    }
}

#[tokio::test]
async fn a_cluster_keeps_the_contracts() {
    if support::redis().is_none() {
        return;
    }
    let cluster = support::cluster::Cluster::start().await;
    let redis = Redis(Some(cluster.uri()));
    idempotency::large_batches_are_answered_in_their_order(&redis).await;
    idempotency::a_batch_is_answered_element_by_element(&redis).await;
    idempotency::a_batch_acquires_a_key_once(&redis).await;
    idempotency::keys_of_any_kind_are_kept_apart(&redis).await;
    delay::one_of_many_racers_claims_an_entry(&redis).await;
    delay::large_batches_are_answered_in_their_order(&redis).await;
    key_value::changes_of_a_call_see_those_before_them(&redis).await;
    key_value::a_scan_is_sorted_and_goes_page_by_page(&redis).await;
}

#[tokio::test]
async fn redis_lets_marks_go_by_itself() {
    let Some(uri) = support::redis() else { return };
    let space = KeySpace::new(
        "test",
        &[&format!("{:?}", Lock::new(IdempotencyKey::new("")).token)],
    );
    let store = marks(&uri, &space);
    let lock = Lock::new(IdempotencyKey::new("a"));
    let short = Duration::from_millis(50);
    store.acquire(std::slice::from_ref(&lock), short).await;
    let other = [Lock::new(IdempotencyKey::new("a"))];
    let freed = athomic_core::testing::eventually_async(Duration::from_secs(5), async || {
        matches!(
            store.acquire(&other, short).await[..],
            [Ok(Acquisition::Acquired)]
        )
    });
    assert!(freed.await);
}

async fn fake(steps: &[Step]) -> (Fake, RedisIdempotency, Lock) {
    let fake = Fake::start(steps).await;
    let store = marks(&fake.uri(), &KeySpace::new("test", &["a"]));
    (fake, store, Lock::new(IdempotencyKey::new("a")))
}

async fn acquire(store: &RedisIdempotency, lock: &Lock) -> Result<Acquisition, StoreError> {
    let locks = std::slice::from_ref(lock);
    store.acquire(locks, Duration::from_secs(10)).await.remove(0)
}

#[tokio::test]
async fn a_cut_connection_leaves_the_outcome_unknown_and_the_same_call_is_made_again() {
    let (fake, store, lock) = fake(&[Step::Cut, Step::Say("*1\r\n:-1\r\n")]).await;
    let error = acquire(&store, &lock).await.expect_err("it was cut");
    assert!(matches!(&error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(matches!(acquire(&store, &lock).await, Ok(Acquisition::Acquired)));
    let commands = fake.commands();
    assert_eq!(commands.len(), 2, "nothing is sent again by itself: {commands:?}");
    assert_eq!(commands[0], commands[1]);
}

#[tokio::test]
async fn refusals_and_replies_that_cannot_be_read_are_told_apart() {
    for (answer, is_retriable) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", true),
        (
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            true,
        ),
        ("-READONLY You can't write against a read only replica.\r\n", true),
        (
            "-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
            false,
        ),
        ("*1\r\n:-9\r\n", false),
        ("*0\r\n", false),
        ("*1\r\n$1\r\na\r\n", false),
    ] {
        let (_fake, store, lock) = fake(&[Step::Say(answer)]).await;
        let error = acquire(&store, &lock).await.expect_err(answer);
        assert_eq!(error.is_retriable(), is_retriable, "{answer}: {error:?}");
    }
}

#[tokio::test]
async fn a_script_that_is_not_known_is_sent_in_full() {
    let steps = [
        Step::Say("-NOSCRIPT No matching script.\r\n"),
        Step::Say("*1\r\n:-1\r\n"),
    ];
    let (fake, store, lock) = fake(&steps).await;
    assert!(matches!(acquire(&store, &lock).await, Ok(Acquisition::Acquired)));
    let names: Vec<_> = fake.commands().iter().map(|command| command[0].clone()).collect();
    assert_eq!(names, ["EVALSHA", "EVAL"]);
}

#[tokio::test]
async fn a_batch_is_one_round_trip() {
    let (fake, store, _) = fake(&[Step::Say("*3\r\n:-1\r\n:-2\r\n:4000\r\n")]).await;
    let locks = ["a", "b", "c"].map(|key| Lock::new(IdempotencyKey::new(key)));
    let answers = store.acquire(&locks, Duration::from_secs(10)).await;
    assert!(matches!(
        answers[..],
        [
            Ok(Acquisition::Acquired),
            Ok(Acquisition::Duplicate),
            Ok(Acquisition::Busy(left)),
        ] if left == Duration::from_secs(4)
    ));
    assert_eq!(fake.commands().len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_may_be_repeated() {
    let Some(uri) = support::redis() else { return };
    let lock = Lock::new(IdempotencyKey::new("a"));
    let store = values(&uri, &KeySpace::new("test", &[&lock.token.0.to_string()]));
    let change = [Change::set("a", "1").if_absent()];
    for _ in 0..2 {
        assert_eq!(store.write(&change).await.expect("it answers"), [true]);
    }
}

#[tokio::test]
async fn the_idempotency_stores_of_an_application_share_one_connection() {
    let fake = Fake::start(&[]).await;
    let backend = athomic_core::store::idempotency_backend("redis").expect("it is linked in");
    let stores = (backend.connect)(&support::settings(&fake.uri())).expect("the URI can be used");
    for handler in ["one", "two", "three"] {
        let store = stores.of(&KeySpace::new("test", &[handler]));
        let locks = [Lock::new(IdempotencyKey::new("a"))];
        fake.then(&[Step::Say("*1\r\n:-1\r\n")]);
        let answers = store.acquire(&locks, Duration::from_secs(10)).await;
        assert!(matches!(answers[..], [Ok(Acquisition::Acquired)]), "{answers:?}");
    }
    let keys: std::collections::BTreeSet<_> = fake
        .commands()
        .into_iter()
        .filter_map(|command| command.into_iter().find(|part| part.starts_with("ath:{")))
        .collect();
    assert_eq!(
        (fake.connections(), keys.len()),
        (1, 3),
        "one connection, and no mark in common"
    );
}
