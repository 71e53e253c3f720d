//! A master dies, and Sentinel makes another one.

mod support;

use athomic_core::store::StoreError;
use athomic_core::store::ordering::{
    Admission, Aggregate, OrderingStore as _, Past, SessionId, SessionState,
};
use athomic_core::testing::{eventually, eventually_async};
use support::server::{LIMIT, Server};
use support::{LIMITS, TTL, arrival, completion, one};

#[tokio::test]
async fn the_promoted_replica_is_found_and_is_another_life() {
    if support::redis().is_none() {
        return;
    }
    let mut master = Server::start(&[]).await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]).await;
    assert!(eventually(LIMIT, || replica.info("master_link_status") == "up").await);
    let sentinel = Server::sentinel(&master).await;
    let knows = || {
        sentinel
            .cli(&["SENTINEL", "REPLICAS", "main"])
            .contains(&replica.port.to_string())
    };
    assert!(eventually(LIMIT, knows).await);

    let uri = format!(
        "redis-sentinel://127.0.0.1:{}?sentinelServiceName=main",
        sentinel.port
    );
    let store = support::store(&uri, support::scope(|_| {}));
    store.open(Past::None).await.expect("it is fit");
    let (session, order) = (SessionId(1), Aggregate::new("order-17", 64));
    let beat = async || one(store.beat(session, &[order.bucket()], TTL).await);
    let admit = async |sequence| one(store.admit(session, LIMITS, &[arrival(&order, sequence)]).await);
    let before = beat().await.expect("it answers");
    let Ok(Admission::Run(first)) = admit(1).await else {
        panic!("it is next");
    };
    let done = store
        .complete(session, 1, &[completion(&order, 1, first.token)])
        .await;
    one(done).expect("it is taken");
    // Here nothing is lost: what the replica does not have is another test's.
    let offset = master.info("master_repl_offset");
    assert!(eventually(LIMIT, || replica.info("slave_repl_offset") >= offset).await);

    master.kill();
    let unknown = admit(2).await.expect_err("nobody is there");
    assert!(matches!(unknown, StoreError::Unreachable { .. }), "{unknown:?}");
    assert!(eventually(LIMIT, || replica.info("role") == "master").await);
    let mut after = None;
    let answers = async || {
        after = beat().await.ok();
        after.is_some()
    };
    assert!(
        eventually_async(LIMIT, answers).await,
        "the new master is not found"
    );
    let after = after.expect("it answered");
    assert_ne!(after.generation, before.generation);
    assert_eq!(after.state, SessionState::Live);
    let Ok(Admission::Run(second)) = admit(2).await else {
        panic!("the new master knows that 1 is done");
    };
    assert!(second.token > first.token);
}
