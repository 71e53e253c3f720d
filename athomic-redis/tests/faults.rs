//! What the store makes of a server that fails: of unknown outcome, not now, or never.

mod support;

use std::time::Duration;

use athomic_core::ordering::Durability;
use athomic_core::store::StoreError;
use athomic_core::store::ordering::{Admission, Aggregate, Each, OrderingStore as _, Past, SessionId};
use athomic_core::testing::{eventually, eventually_async};
use athomic_redis::RedisOrdering;
use support::fake::{Fake, Step};
use support::{LIMITS, arrival, one};

/// What `admit.lua` says to one message that is next.
const RUN: Step = Step::Say("*4\r\n:11\r\n$16\r\n1750000000000001\r\n:1\r\n:0\r\n");
/// What it says to one that has to wait.
const PARKED: Step = Step::Say("*1\r\n:7\r\n");

async fn admit(store: &RedisOrdering) -> Result<Admission, StoreError> {
    let aggregate = Aggregate::new("order-17", 64);
    one(store.admit(SessionId(1), LIMITS, &[arrival(&aggregate, 1)]).await)
}

async fn stage(steps: &[Step]) -> (Fake, RedisOrdering) {
    let fake = Fake::start(steps).await;
    let store = support::store(&fake.uri(), support::scope(|_| {}));
    (fake, store)
}

fn names(fake: &Fake) -> Vec<String> {
    fake.commands()
        .into_iter()
        .map(|mut command| command.swap_remove(0))
        .collect()
}

#[tokio::test]
async fn refusals_of_the_moment_are_retriable_and_say_that_nothing_was_done() {
    for answer in [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-BUSY Redis is busy running a script.\r\n",
        "-MISCONF Redis is configured to save RDB snapshots\r\n",
        "-NOREPLICAS Not enough good replicas to write.\r\n",
        "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ] {
        let (_fake, store) = stage(&[Step::Say(answer)]).await;
        let error = admit(&store).await.expect_err(answer);
        assert!(
            matches!(&error, StoreError::Unavailable { .. }),
            "{answer}: {error:?}"
        );
        assert!(error.is_retriable());
    }
}

#[tokio::test]
async fn the_same_call_succeeds_when_the_server_is_well_again() {
    let (fake, store) = stage(&[Step::Say("-LOADING Redis is loading\r\n"), RUN]).await;
    admit(&store).await.expect_err("it loads");
    assert!(matches!(admit(&store).await, Ok(Admission::Run(_))));
    let commands = fake.commands();
    // The first argument is the time; all others are the same.
    assert_eq!(commands[0], commands[1]);
}

#[tokio::test]
async fn missing_rights_are_final_and_tell_which() {
    for (answer, expected) in [
        ("-NOAUTH Authentication required.\r\n", "user and password"),
        (
            "-WRONGPASS invalid username-password pair\r\n",
            "mend the user or the password",
        ),
        (
            "-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
            "+evalsha",
        ),
        (
            "-ERR ACL failure in script: User u has no permissions to run the 'hset' command\r\n",
            "+hset",
        ),
    ] {
        let (_fake, store) = stage(&[Step::Say(answer)]).await;
        let error = admit(&store).await.expect_err(answer);
        assert!(
            matches!(&error, StoreError::Refused { .. }),
            "{answer}: {error:?}"
        );
        assert!(!error.is_retriable());
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_is_told_to_be_one() {
    let (_fake, store) = stage(&[Step::Say("-MOVED 866 127.0.0.1:7001\r\n")]).await;
    let error = admit(&store).await.expect_err("it is another node's");
    assert!(matches!(&error, StoreError::Unfit { .. }), "{error:?}");
    assert!(error.to_string().contains("redis-cluster://"), "{error}");
}

#[tokio::test]
async fn other_errors_and_replies_that_cannot_be_read_are_final() {
    for answer in [
        "-ERR user_script:1: Script attempted to access nonexistent global variable\r\n",
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        "*1\r\n:99\r\n",
        "*0\r\n",
        "*1\r\n$3\r\nabc\r\n",
        "*2\r\n:11\r\n$3\r\nabc\r\n",
        "+OK\r\n",
    ] {
        let (_fake, store) = stage(&[Step::Say(answer)]).await;
        let error = admit(&store).await.expect_err(answer);
        assert!(
            matches!(&error, StoreError::Malformed { .. }),
            "{answer}: {error:?}"
        );
        assert!(!error.is_retriable());
    }
}

#[tokio::test]
async fn a_cut_connection_leaves_the_outcome_unknown_and_is_made_anew() {
    let (fake, store) = stage(&[Step::Cut]).await;
    let error = admit(&store).await.expect_err("it was cut");
    assert!(matches!(&error, StoreError::Unreachable { .. }), "{error:?}");
    // The client did not send it a second time by itself.
    assert_eq!(names(&fake), ["EVALSHA"]);
    assert!(eventually(Duration::from_secs(20), || fake.connections() == 2).await);
    fake.then(&[RUN]);
    let works = async || matches!(admit(&store).await, Ok(Admission::Run(_)));
    assert!(eventually_async(Duration::from_secs(20), works).await);
}

#[tokio::test]
async fn a_cluster_that_is_down_leaves_the_outcome_unknown() {
    // The client cuts the connection at this, with whatever else was under way.
    let (_fake, store) = stage(&[Step::Say("-CLUSTERDOWN The cluster is down\r\n")]).await;
    let error = admit(&store).await.expect_err("it is down");
    assert!(matches!(&error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.is_retriable());
}

#[tokio::test]
async fn silence_leaves_the_outcome_unknown() {
    let (fake, store) = stage(&[Step::Silence]).await;
    let error = admit(&store).await.expect_err("nobody answers");
    assert!(matches!(&error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(names(&fake), ["EVALSHA"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let fake = Fake::start(&[]).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = nobody.local_addr().expect("it is bound").port();
    drop(nobody);
    let store = support::store(&format!("redis://127.0.0.1:{port}"), support::scope(|_| {}));
    let error = store.open(Past::None).await.expect_err("nobody is there");
    assert!(matches!(&error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(fake.commands().is_empty());
}

#[tokio::test]
async fn an_unknown_script_is_sent_in_full_and_only_where_it_is_unknown() {
    let (fake, store) = stage(&[Step::Say("-NOSCRIPT No matching script.\r\n"), RUN, RUN]).await;
    assert!(matches!(admit(&store).await, Ok(Admission::Run(_))));
    assert!(matches!(admit(&store).await, Ok(Admission::Run(_))));
    assert_eq!(names(&fake), ["EVALSHA", "EVAL", "EVALSHA"]);
    let commands = fake.commands();
    assert_eq!(commands[0][2..], commands[1][2..]);
}

#[tokio::test]
async fn of_several_calls_only_the_failed_ones_are_sent_again() {
    let (fake, store) = stage(&[]).await;
    // 128 aggregates are two calls: the first finds the script unknown, the second does not.
    let run = "*256\r\n".to_owned() + &":11\r\n:5\r\n:1\r\n:0\r\n".repeat(64);
    let run: &'static str = run.leak();
    fake.then(&[
        Step::Say("-NOSCRIPT No matching script.\r\n"),
        Step::Say(run),
        Step::Say(run),
    ]);
    let arrivals: Vec<_> = (0..128)
        .map(|key| arrival(&Aggregate::stored(format!("{key}"), 7), 1))
        .collect();
    let answers: Each<Admission> = store.admit(SessionId(1), LIMITS, &arrivals).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(Admission::Run(_))))
    );
    let commands = fake.commands();
    assert_eq!(names(&fake), ["EVALSHA", "EVALSHA", "EVAL"]);
    assert_eq!(commands[0][2..], commands[2][2..]);
}

#[tokio::test]
async fn one_failed_call_does_not_fail_the_others() {
    let (fake, store) = stage(&[]).await;
    let run = "*256\r\n".to_owned() + &":11\r\n:5\r\n:1\r\n:0\r\n".repeat(64);
    fake.then(&[Step::Say("-BUSY Redis is busy.\r\n"), Step::Say(run.leak())]);
    let arrivals: Vec<_> = (0..128)
        .map(|key| arrival(&Aggregate::stored(format!("{key:03}"), 7), 1))
        .collect();
    let answers = store.admit(SessionId(1), LIMITS, &arrivals).await;
    assert!(answers[..64].iter().all(Result::is_err));
    assert!(answers[64..].iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_master_that_was_demoted_is_left() {
    let (fake, store) = stage(&[Step::Say(
        "-READONLY You can't write against a read only replica.\r\n",
    )])
    .await;
    admit(&store).await.expect_err("it is a replica");
    assert!(eventually(Duration::from_secs(20), || fake.connections() == 2).await);
}

/// A park with `durability = "redis"` and two replicas, or the disk as well.
async fn park(fsync: bool, steps: &[Step]) -> (Vec<Vec<String>>, Result<Admission, StoreError>) {
    let fake = Fake::start(steps).await;
    let scope = support::scope(|policies| {
        policies.durability = Durability::Redis { replicas: 2, fsync };
    });
    let store = support::store(&fake.uri(), scope);
    let answer = admit(&store).await;
    (fake.commands(), answer)
}

#[tokio::test]
async fn a_park_counts_when_enough_replicas_have_it() {
    let (commands, answer) = park(false, &[PARKED, Step::Say(":2\r\n")]).await;
    assert!(matches!(answer, Ok(Admission::Parked { .. })), "{answer:?}");
    assert_eq!(commands[1][..2], ["WAIT", "2"]);
    let (commands, answer) = park(true, &[PARKED, Step::Say("*2\r\n:1\r\n:3\r\n")]).await;
    assert!(matches!(answer, Ok(Admission::Parked { .. })), "{answer:?}");
    assert_eq!(commands[1][..3], ["WAITAOF", "1", "2"]);
}

#[tokio::test]
async fn a_park_that_too_few_have_is_asked_again() {
    for (fsync, count) in [
        (false, ":1\r\n"),
        (false, ":0\r\n"),
        (true, "*2\r\n:0\r\n:2\r\n"),
        (true, "*2\r\n:1\r\n:1\r\n"),
        (true, "*0\r\n"),
    ] {
        let (_, answer) = park(fsync, &[PARKED, Step::Say(count)]).await;
        let error = answer.expect_err(count);
        assert!(
            matches!(&error, StoreError::Unavailable { .. }),
            "{count}: {error:?}"
        );
    }
    // What runs was not written for others to keep.
    let (_, answer) = park(false, &[RUN, Step::Say(":0\r\n")]).await;
    assert!(matches!(answer, Ok(Admission::Run(_))), "{answer:?}");
}

#[tokio::test]
async fn a_park_whose_replicas_nobody_counted_is_of_unknown_outcome() {
    for step in [Step::Cut, Step::Silence] {
        let (_, answer) = park(false, &[PARKED, step.clone()]).await;
        let error = answer.expect_err("nobody counted");
        assert!(
            matches!(&error, StoreError::Unreachable { .. }),
            "{step:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_script_is_waited_for_as_well() {
    let unknown = Step::Say("-NOSCRIPT No matching script.\r\n");
    let (commands, answer) = park(
        false,
        &[unknown, Step::Say(":2\r\n"), PARKED, Step::Say(":2\r\n")],
    )
    .await;
    assert!(matches!(answer, Ok(Admission::Parked { .. })), "{answer:?}");
    let names: Vec<_> = commands.iter().map(|command| command[0].as_str()).collect();
    assert_eq!(names, ["EVALSHA", "WAIT", "EVAL", "WAIT"]);
}
