//! A cluster keeps the contract of ordering stores, also while a slot moves.

mod support;

use athomic_core::ordering::Durability;
use athomic_core::store::memory::StoreClock;
use athomic_core::store::ordering::{
    Admission, Aggregate, Completed, OrderingStore as _, Past, SessionId, SessionState,
};
use athomic_core::store::{Scope, StoreError};
use athomic_core::testing::ordering::{TestStores, differential};
use athomic_redis::RedisOrdering;
use support::cluster::Cluster;
use support::server::Server;
use support::{LIMITS, TTL, arrival, completion, one};
use tokio::sync::OnceCell;

/// One for all cases; its processes end with this one.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

struct Redis(Option<String>);

impl TestStores for Redis {
    type Store = RedisOrdering;

    async fn store(&self, scope: Scope, clock: StoreClock) -> RedisOrdering {
        let uri = self.0.as_deref().expect("there is a Redis");
        support::driven(uri, scope, clock)
    }

    fn available(&self) -> bool {
        self.0.is_some()
    }
}

async fn setup() -> Redis {
    if support::redis().is_none() {
        return Redis(None);
    }
    Redis(Some(CLUSTER.get_or_init(Cluster::start).await.uri()))
}

athomic_core::ordering_conformance!(setup);

#[tokio::test]
async fn random_calls_are_answered_as_by_the_store_in_memory() {
    let stores = setup().await;
    if stores.available() {
        let make = async |scope: Scope, clock: StoreClock| stores.store(scope, clock).await;
        for seed in 1_000..1_005 {
            differential(seed, 300, make).await;
        }
    }
}

#[tokio::test]
async fn a_cluster_without_all_slots_is_refused() {
    if support::redis().is_none() {
        return;
    }
    let node = Server::start(&[
        "cluster-enabled yes",
        "cluster-require-full-coverage no",
        "cluster-announce-ip 127.0.0.1",
    ])
    .await;
    node.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16000"]);
    let uri = format!("redis-cluster://127.0.0.1:{}", node.port);
    let refused = support::store(&uri, support::scope(|_| {}))
        .open(Past::None)
        .await;
    let error = refused.expect_err("some slots are nobody's");
    assert!(matches!(error, StoreError::Unfit { .. }), "{error:?}");
}

#[tokio::test]
async fn a_park_waits_for_the_replicas_of_its_own_node() {
    if support::redis().is_none() {
        return;
    }
    let cluster = Cluster::start().await;
    let scope = support::scope(|policies| {
        policies.durability = Durability::Redis {
            replicas: 1,
            fsync: false,
        };
    });
    let store = support::store(&cluster.uri(), scope.clone());
    store.open(Past::None).await.expect("it is fit");
    let session = SessionId(1);
    for bucket in [1, 2, 3, 4, 5] {
        one(store.beat(session, &[bucket], TTL).await).expect("it answers");
        let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &format!("{{{}:{bucket}}}", scope.id())]);
        let owner = cluster.owner(slot.trim());
        for node in &cluster.nodes {
            node.cli(&["CONFIG", "RESETSTAT"]);
        }
        let order = Aggregate::stored("order-17", bucket);
        let error = one(store.admit(session, LIMITS, &[arrival(&order, 2)]).await);
        let error = error.expect_err("there is no replica");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        for (number, node) in cluster.nodes.iter().enumerate() {
            let has_waited = !node.info("cmdstat_wait").is_empty();
            assert_eq!(has_waited, number == owner, "of bucket {bucket}");
        }
        let report = store.inspect(&order, 9).await.expect("asked").expect("known");
        assert_eq!(report.parked, 1);
    }
}

/// Repeat a call until its outcome is known, as whoever uses a store does. Counts what failed.
async fn known<T>(failures: &mut u64, mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) if error.is_retriable() => *failures += 1,
            Err(error) => panic!("{error:?}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_while_a_slot_moves() {
    if support::redis().is_none() {
        return;
    }
    let cluster = Cluster::start().await;
    let scope = support::scope(|_| {});
    let bucket = 7;
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &format!("{{{}:{bucket}}}", scope.id())]);
    let slot = slot.trim().to_owned();
    let store = support::store(&cluster.uri(), scope);
    store.open(Past::None).await.expect("it is fit");
    let session = SessionId(1);
    let beat = one(store.beat(session, &[bucket], TTL * 60).await).expect("it answers");
    assert_eq!(beat.state, SessionState::New);
    let aggregates: Vec<_> = (0..8)
        .map(|key| Aggregate::stored(format!("order-{key}"), bucket))
        .collect();

    let moving = tokio::task::spawn_blocking(move || {
        let mut owner = cluster.owner(&slot);
        for _ in 0..4 {
            let next = (owner + 1) % cluster.nodes.len();
            cluster.migrate(&slot, owner, next);
            owner = next;
        }
        assert_eq!(cluster.owner(&slot), owner);
        cluster
    });
    let (mut failures, mut last, mut sequence) = (0, 0, 0);
    // As long as it moves, and then some more.
    while !moving.is_finished() || sequence < 20 {
        sequence += 1;
        for aggregate in &aggregates {
            let parked = [arrival(aggregate, 2 * sequence)];
            known(&mut failures, async || {
                one(store.admit(session, LIMITS, &parked).await)
            })
            .await;
            let next = [arrival(aggregate, 2 * sequence - 1)];
            let answer = known(&mut failures, async || {
                one(store.admit(session, LIMITS, &next).await)
            })
            .await;
            let Admission::Run(grant) = answer else {
                panic!("{} is next, and was answered {answer:?}", 2 * sequence - 1);
            };
            assert!(grant.token.get() > last, "tokens rise");
            last = grant.token.get();
            for sequence in [2 * sequence - 1, 2 * sequence] {
                let done = [completion(aggregate, sequence, grant.token)];
                let done = known(&mut failures, async || {
                    one(store.complete(session, 4, &done).await)
                })
                .await;
                assert!(!matches!(done, Completed::Fenced), "{sequence}");
            }
        }
    }
    let _cluster = moving.await.expect("the slot moved");
    for aggregate in &aggregates {
        let report = store.inspect(aggregate, 9).await.expect("asked").expect("known");
        assert_eq!((report.next, report.parked), (Some(2 * sequence + 1), 0));
    }
    println!("{sequence} rounds, {failures} calls were repeated");
}
