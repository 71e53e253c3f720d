//! What becomes of the store when a server restarts, is full, or is not fit.

mod support;

use std::time::Duration;

use athomic_core::ordering::Durability;
use athomic_core::store::StoreError;
use athomic_core::store::ordering::{
    Admission, Aggregate, Beat, Completed, FencingToken, Opened, OrderingStore as _, Past, SessionId,
    SessionState,
};
use athomic_core::testing::{eventually, eventually_async};
use athomic_redis::RedisOrdering;
use support::server::{LIMIT, Server};
use support::{LIMITS, TTL, arrival, completion, one};

fn order() -> Aggregate {
    Aggregate::new("order-17", 64)
}

async fn beat(store: &RedisOrdering) -> Result<Beat, StoreError> {
    one(store.beat(SessionId(1), &[order().bucket()], TTL).await)
}

async fn admit(store: &RedisOrdering, sequence: u64) -> Result<Admission, StoreError> {
    one(store
        .admit(SessionId(1), LIMITS, &[arrival(&order(), sequence)])
        .await)
}

async fn complete(store: &RedisOrdering, sequence: u64, token: FencingToken) -> Completed {
    let completions = [completion(&order(), sequence, token)];
    one(store.complete(SessionId(1), 16, &completions).await).expect("it is taken")
}

async fn run(store: &RedisOrdering, sequence: u64) -> FencingToken {
    match admit(store, sequence).await {
        Ok(Admission::Run(grant)) => grant.token,
        other => panic!("{sequence} is next, and was answered {other:?}"),
    }
}

/// Wait until the store answers again, and return the first beat.
async fn beat_again(store: &RedisOrdering) -> Beat {
    let mut found = None;
    let answers = async || {
        found = beat(store).await.ok();
        found.is_some()
    };
    assert!(
        eventually_async(LIMIT, answers).await,
        "the store does not answer again"
    );
    found.expect("it answered")
}

#[tokio::test]
async fn a_server_that_lost_all_is_noticed_and_tokens_rise_all_the_same() {
    if support::redis().is_none() {
        return;
    }
    let mut server = Server::start(&[]).await;
    let store = support::store(&server.uri(), support::scope(|_| {}));
    let before = beat(&store).await.expect("it answers");
    let token = run(&store, 1).await;
    complete(&store, 1, token).await;
    let token = run(&store, 2).await;
    server.kill();
    let unknown = admit(&store, 2).await.expect_err("nobody is there");
    assert!(matches!(unknown, StoreError::Unreachable { .. }), "{unknown:?}");
    server.start_again().await;
    let after = beat_again(&store).await;
    assert_eq!(after.state, SessionState::New);
    assert_ne!(after.generation, before.generation);
    assert_eq!(complete(&store, 2, token).await, Completed::Fenced);
    assert!(run(&store, 1).await > token);
}

#[tokio::test]
async fn a_server_that_kept_all_is_another_life_of_the_same_data() {
    if support::redis().is_none() {
        return;
    }
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]).await;
    let store = support::store(&server.uri(), support::scope(|_| {}));
    let before = beat(&store).await.expect("it answers");
    let token = run(&store, 1).await;
    server.kill();
    server.start_again().await;
    let after = beat_again(&store).await;
    assert_eq!(after.state, SessionState::Live);
    assert_ne!(after.generation, before.generation);
    assert_eq!(
        complete(&store, 1, token).await,
        Completed::Done {
            frames: Vec::new(),
            held: false,
        }
    );
}

#[tokio::test]
async fn flushed_scripts_and_data_are_noticed_without_a_restart() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    let store = support::store(&server.uri(), support::scope(|_| {}));
    beat(&store).await.expect("it answers");
    run(&store, 1).await;
    server.cli(&["SCRIPT", "FLUSH"]);
    run(&store, 1).await;
    server.cli(&["FLUSHALL"]);
    let lapsed = admit(&store, 1).await.expect_err("the session is gone");
    assert!(matches!(lapsed, StoreError::SessionLapsed), "{lapsed:?}");
    assert_eq!(beat(&store).await.expect("it answers").state, SessionState::New);
}

#[tokio::test]
async fn a_loss_is_told_to_who_opens_the_store_later() {
    if support::redis().is_none() {
        return;
    }
    for lasts in [false, true] {
        let settings: &[&str] = if lasts {
            &["appendonly yes", "appendfsync always"]
        } else {
            &[]
        };
        let mut server = Server::start(settings).await;
        let scope = support::scope(|_| {});
        let open = async |past| {
            let store = support::store(&server.uri(), scope.clone());
            store.open(past).await.expect("it is fit")
        };
        let nothing_lost = Opened::There {
            lost: None,
            noticed: false,
        };
        assert_eq!(open(Past::Unasked).await, Opened::Empty);
        assert_eq!(open(Past::None).await, nothing_lost);
        assert_eq!(open(Past::Some).await, nothing_lost);
        server.kill();
        server.start_again().await;
        let open = async |past| {
            let store = support::store(&server.uri(), scope.clone());
            store.open(past).await.expect("it is fit")
        };
        // One that comes back with its data may lack the last writes.
        let expected = if lasts { Past::None } else { Past::Some };
        if !lasts {
            assert_eq!(open(Past::Unasked).await, Opened::Empty);
        }
        let Opened::There {
            lost: Some(lost),
            noticed: true,
        } = open(expected).await
        else {
            panic!("the loss was not noticed, with data: {lasts}");
        };
        for past in [Past::Unasked, Past::None] {
            let Opened::There {
                lost: Some(told),
                noticed: false,
            } = open(past).await
            else {
                panic!("the loss was not told, with data: {lasts}");
            };
            assert_eq!(told.at, lost.at);
            assert!(told.ago >= lost.ago, "{told:?} after {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_full_server_takes_nothing_in_and_drains() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    let store = support::store(&server.uri(), support::scope(|_| {}));
    beat(&store).await.expect("it answers");
    for sequence in [2, 3] {
        admit(&store, sequence).await.expect("it has memory");
    }
    let token = run(&store, 1).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = admit(&store, 4).await.expect_err("it is full");
    assert!(matches!(full, StoreError::Unavailable { .. }), "{full:?}");
    for sequence in 1..=3 {
        assert!(matches!(
            complete(&store, sequence, token).await,
            Completed::Done { .. }
        ));
    }
    assert_eq!(beat(&store).await.expect("it answers").messages, 0);
    let report = store.inspect(&order(), 9).await.expect("asked").expect("known");
    assert_eq!((report.next, report.parked), (Some(4), 0));
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    run(&store, 4).await;
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&["maxmemory-policy allkeys-lru"]).await;
    let store = support::store(&server.uri(), support::scope(|_| {}));
    let unfit = store.open(Past::None).await.expect_err("it evicts");
    assert!(matches!(unfit, StoreError::Unfit { .. }), "{unfit:?}");
    let text = unfit.to_string();
    assert!(
        text.contains("`allkeys-lru`") && text.contains("maxmemory-policy noeviction"),
        "{text}"
    );
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    store.open(Past::None).await.expect("it does not evict any more");
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_as_a_server() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&["cluster-enabled yes"]).await;
    let store = support::store(&server.uri(), support::scope(|_| {}));
    let unfit = store.open(Past::None).await.expect_err("it is a node");
    assert!(unfit.to_string().contains("redis-cluster://"), "{unfit}");
}

#[tokio::test]
async fn a_disk_that_cannot_be_waited_for_is_refused() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    let scope = support::scope(|policies| {
        policies.durability = Durability::Redis {
            replicas: 0,
            fsync: true,
        };
    });
    let unfit = support::store(&server.uri(), scope)
        .open(Past::None)
        .await
        .expect_err("no file");
    assert!(matches!(unfit, StoreError::Unfit { .. }), "{unfit:?}");
    assert!(unfit.to_string().contains("appendonly yes"), "{unfit}");
}

#[tokio::test]
async fn a_park_waits_for_the_disks_or_is_refused_by_an_old_server() {
    if support::redis().is_none() {
        return;
    }
    let lasting = ["appendonly yes", "appendfsync everysec"];
    let server = Server::start(&lasting).await;
    let version = server.info("redis_version");
    let number = |part: usize| -> u32 {
        let part = version.split('.').nth(part);
        part.and_then(|part| part.parse().ok()).unwrap_or_default()
    };
    let scope = |replicas| {
        support::scope(|policies| {
            policies.durability = Durability::Redis {
                replicas,
                fsync: true,
            }
        })
    };
    let store = support::store(&server.uri(), scope(0));
    let opened = store.open(Past::None).await;
    if (number(0), number(1)) < (7, 2) {
        println!("Redis {version} has no WAITAOF: shown is only that it is refused");
        let refused = opened.expect_err("it is too old").to_string();
        assert!(refused.contains(&version) && refused.contains("7.2"), "{refused}");
        return;
    }
    opened.expect("it is fit");
    beat(&store).await.expect("it answers");
    let parked = Admission::Parked { halted: false };
    assert_eq!(admit(&store, 2).await.expect("it is on the disk"), parked);
    // Without its file the same server cannot say so, and the outcome is not taken for a success.
    server.cli(&["CONFIG", "SET", "appendonly", "no"]);
    admit(&store, 3)
        .await
        .expect_err("nobody knows whether it is on the disk");
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    let counted = async || admit(&store, 3).await.is_ok_and(|answer| answer == parked);
    assert!(eventually_async(LIMIT, counted).await);

    let mut replica =
        Server::prepare(&[&lasting[..], &[&format!("replicaof 127.0.0.1 {}", server.port)]].concat());
    replica.start_again().await;
    let store = support::store(&server.uri(), scope(1));
    store.open(Past::None).await.expect("it is fit");
    beat(&store).await.expect("it answers");
    let counted = async || admit(&store, 2).await.is_ok_and(|answer| answer == parked);
    assert!(eventually_async(LIMIT, counted).await);
    replica.kill();
    let too_few = admit(&store, 3).await.expect_err("only one disk has it");
    assert!(
        too_few.to_string().contains("1 disks and 1 replicas are to have"),
        "{too_few}"
    );
}

#[tokio::test]
async fn a_park_waits_for_the_replicas_and_stands_without_them() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    let mut replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", server.port)]).await;
    assert!(eventually(LIMIT, || replica.info("master_link_status") == "up").await);
    let scope = support::scope(|policies| {
        policies.durability = Durability::Redis {
            replicas: 1,
            fsync: false,
        };
    });
    let store = support::store(&server.uri(), scope);
    store.open(Past::None).await.expect("it is fit");
    beat(&store).await.expect("it answers");
    let parked = Admission::Parked { halted: false };
    // One that has just connected may not be counted yet.
    let counted = async || admit(&store, 2).await.is_ok_and(|answer| answer == parked);
    assert!(eventually_async(LIMIT, counted).await);
    replica.kill();
    let too_few = admit(&store, 3).await.expect_err("there is no replica");
    assert!(matches!(too_few, StoreError::Unavailable { .. }), "{too_few:?}");
    let report = store.inspect(&order(), 9).await.expect("asked").expect("known");
    assert_eq!(report.parked, 2);
    // Who is heard of in between does not wait with it.
    beat(&store).await.expect("it answers");
    run(&store, 1).await;
    replica.start_again().await;
    let counted = async || admit(&store, 3).await.is_ok_and(|answer| answer == parked);
    assert!(eventually_async(LIMIT, counted).await);
    assert!(
        eventually(Duration::from_secs(10), || replica.info("master_link_status")
            == "up")
        .await
    );
}
