//! TLS, and a user with exactly the rights that are needed.

mod support;

use std::fs;
use std::time::Duration;

use athomic_core::store::StoreError;
use athomic_core::store::memory::StoreClock;
use athomic_core::store::ordering::{
    Admission, Aggregate, Arrival, ClaimTerms, Completed, Completion, First, OrderingStore, Past, SessionId,
    Steering,
};
use athomic_redis::{COMMANDS, RedisOrdering};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use support::server::Server;
use support::{LIMITS, TTL, arrival, completion, one};

const TERMS: ClaimTerms = ClaimTerms {
    frames: 4,
    gap: Some(Duration::ZERO),
    crowded: false,
    begins: false,
    settle: Duration::ZERO,
};

/// Do everything that a store can do, by all ways through its scripts.
async fn exercise(store: &RedisOrdering, clock: &StoreClock) -> Result<(), StoreError> {
    store.open(Past::None).await?;
    let (session, order) = (SessionId(1), Aggregate::new("order-17", 64));
    let bucket = [order.bucket()];
    one(store.beat(SessionId(2), &bucket, TTL).await)?;
    let admit = async |session, arrival: Arrival| one(store.admit(session, LIMITS, &[arrival]).await);
    let settling = Arrival {
        aggregate: Aggregate::stored("settling", order.bucket()),
        first: First::Settle,
        ..arrival(&order, 1)
    };
    admit(SessionId(2), settling.clone()).await?;
    let known = Arrival {
        first: First::Known(9),
        sequence: 9,
        ..settling
    };
    admit(SessionId(2), known).await?;
    clock.shift(700_000_000);
    one(store.beat(session, &bucket, TTL).await)?;
    for sequence in [2, 3, 9, 7] {
        admit(session, arrival(&order, sequence)).await?;
    }
    let Admission::Run(grant) = admit(session, arrival(&order, 1)).await? else {
        panic!("it is next");
    };
    let other = SessionId(3);
    one(store.beat(other, &bucket, TTL).await)?;
    for sequence in [1, 5] {
        admit(other, arrival(&order, sequence)).await?;
    }
    let note = Steering::Note { error: "e".into() };
    store.steer(&order, note).await?;
    let complete = async |completion: Completion| one(store.complete(session, 4, &[completion]).await);
    let done = complete(completion(&order, 1, grant.token)).await?;
    assert!(matches!(done, Completed::Done { frames, .. } if frames.len() == 2));
    for sequence in 2..=3 {
        complete(completion(&order, sequence, grant.token)).await?;
    }
    clock.shift(5_000_000);
    one(store.claim(session, TERMS, std::slice::from_ref(&order)).await)?;
    store.steer(&order, Steering::Halt { reason: "r".into() }).await?;
    one(store.survey(&bucket).await)?;
    store.steer(&order, Steering::Resume { next: Some(8) }).await?;
    one(store.due(&bucket, 9).await)?;
    one(store.probe(std::slice::from_ref(&order)).await)?;
    store.steer(&order, Steering::Remove { sequence: 9 }).await?;
    store.inspect(&order, 9).await?;
    let Admission::Run(grant) = admit(session, arrival(&order, 8)).await? else {
        panic!("it is next");
    };
    one(store.release(session, &[(order.clone(), grant.token)]).await)?;
    store.steer(&order, Steering::Forget).await?;
    store.record("event").await?;
    store.events(9).await?;
    Ok(())
}

async fn try_with(uri: &str) -> Result<(), StoreError> {
    let clock = StoreClock::stopped_at(1_750_000_000_000_000);
    let scope = support::scope(|policies| policies.state_ttl = Some(Duration::from_secs(3600)));
    exercise(&support::driven(uri, scope, clock.clone()), &clock).await
}

/// Make the user anew with some rights.
fn set_user(server: &Server, rights: &[&str]) {
    let user = ["ACL", "SETUSER", "athomic", "reset", "on", ">canary", "~ath:*"];
    let answer = server.cli(&[&user[..], rights].concat());
    assert_eq!(answer.trim(), "OK");
}

#[tokio::test]
async fn the_rights_that_are_told_are_enough_and_each_of_them_is_needed() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&[]).await;
    let uri = format!("redis://athomic:canary@127.0.0.1:{}", server.port);
    let all: Vec<&str> = COMMANDS.split_whitespace().collect();
    set_user(&server, &all);
    try_with(&uri).await.expect("all rights are there");
    // Those of other deployments are needed there.
    let elsewhere = ["+cluster|slots", "+cluster|info", "+wait", "+time"];
    for left_out in all.iter().filter(|command| !elsewhere.contains(command)) {
        let rest: Vec<_> = all
            .iter()
            .copied()
            .filter(|command| command != left_out)
            .collect();
        server.cli(&["SCRIPT", "FLUSH"]);
        set_user(&server, &rest);
        let error = try_with(&uri).await.expect_err(left_out);
        assert!(
            matches!(&error, StoreError::Refused { .. }),
            "without {left_out}: {error:?}"
        );
        let command = left_out
            .trim_start_matches('+')
            .split('|')
            .next()
            .unwrap_or_default();
        assert!(error.to_string().contains(command), "without {left_out}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_told() {
    if support::redis().is_none() {
        return;
    }
    let server = Server::start(&["requirepass something"]).await;
    for uri in [
        format!("redis://:canary@127.0.0.1:{}", server.port),
        format!("redis://nobody:canary@127.0.0.1:{}", server.port),
        server.uri(),
    ] {
        let error = try_with(&uri).await.expect_err("nobody may");
        assert!(matches!(&error, StoreError::Refused { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}

/// Certificates of an authority, as files.
fn certify(server: &Server, authority: &str) {
    let write = |name: &str, content: String| {
        fs::write(server.dir().join(name), content).expect("a file can be written");
    };
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, authority);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    write(&format!("{authority}.pem"), issuer.pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        write(&format!("{authority}-{name}.pem"), certificate.pem());
        write(&format!("{authority}-{name}.key"), key.serialize_pem());
    }
}

#[tokio::test]
async fn tls_proves_both_ends() {
    if support::redis().is_none() {
        return;
    }
    let prepared = Server::prepare(&[
        "port 0",
        "tls-cert-file ours-server.pem",
        "tls-key-file ours-server.key",
        "tls-ca-cert-file ours.pem",
    ]);
    certify(&prepared, "ours");
    certify(&prepared, "theirs");
    let dir = prepared.dir().display().to_string();
    let file = |name: &str| format!("{dir}/{name}");
    let mut server = prepared.with_tls(
        &file("ours.pem"),
        &file("ours-client.pem"),
        &file("ours-client.key"),
    );
    server.start_again().await;
    let uri = |query: &str| format!("rediss://localhost:{}?{query}", server.port);
    let (ca, cert, key) = (file("ours.pem"), file("ours-client.pem"), file("ours-client.key"));
    let both = format!("ca_file={ca}&cert_file={cert}&key_file={key}");
    try_with(&uri(&both)).await.expect("both are proved");
    let (cert, key) = (file("theirs-client.pem"), file("theirs-client.key"));
    for query in [
        format!("ca_file={ca}"),
        format!("ca_file={ca}&cert_file={cert}&key_file={key}"),
        format!("ca_file={}", file("theirs.pem")),
    ] {
        let error = try_with(&uri(&query)).await.expect_err("somebody is not proved");
        assert!(
            matches!(&error, StoreError::Unreachable { .. }),
            "{query}: {error:?}"
        );
    }
}
