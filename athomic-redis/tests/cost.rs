//! What a message costs Redis: how many commands its scripts run, which is what their time goes by.

mod support;

use std::collections::BTreeMap;

use athomic_core::store::ordering::{
    Admission, Aggregate, Arrival, Completed, Completion, FencingToken, OrderingStore as _, SessionId,
};
use athomic_redis::RedisOrdering;
use support::server::Server;
use support::{LIMITS, TTL, arrival, completion};

/// What Redis counted while something was done.
struct Cost {
    commands: u64,
    /// Inside of scripts.
    micros: f64,
    /// Of the whole process, by the system's account.
    cpu_micros: f64,
}

fn counted(server: &Server) -> Cost {
    let stats = server.cli(&["INFO", "commandstats"]);
    let mut calls = BTreeMap::new();
    let mut micros = 0.0;
    for line in stats.lines() {
        let Some((name, counts)) = line
            .strip_prefix("cmdstat_")
            .and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let count = |field: &str| {
            let counts = counts.split(',').find_map(|count| count.strip_prefix(field));
            counts
                .and_then(|count| count.trim().parse::<f64>().ok())
                .unwrap_or_default()
        };
        if name.starts_with("eval") {
            micros += count("usec=");
        } else if name != "info" {
            calls.insert(name.to_owned(), count("calls="));
        }
    }
    let seconds = |field| server.info(field).parse::<f64>().unwrap_or_default();
    Cost {
        commands: calls.values().sum::<f64>() as u64,
        micros,
        cpu_micros: 1e6 * (seconds("used_cpu_user") + seconds("used_cpu_sys")),
    }
}

/// Aggregates that are worked on side by side.
struct Load {
    server: Server,
    store: RedisOrdering,
    session: SessionId,
    aggregates: Vec<Aggregate>,
}

impl Load {
    async fn new() -> Option<Self> {
        support::redis()?;
        let server = Server::start(&[]).await;
        let store = support::store(&server.uri(), support::scope(|_| {}));
        let session = SessionId::random();
        let buckets: Vec<u16> = (0..64).collect();
        for beat in store.beat(session, &buckets, TTL).await {
            beat.expect("a beat is taken");
        }
        let aggregates = (0..64).map(|key| Aggregate::new(&format!("order-{key}"), 64));
        Some(Self {
            aggregates: aggregates.collect(),
            server,
            store,
            session,
        })
    }

    async fn admit(&self, sequence: u64) -> Vec<Admission> {
        let arrivals: Vec<Arrival> = self.aggregates.iter().map(|one| arrival(one, sequence)).collect();
        let answers = self.store.admit(self.session, LIMITS, &arrivals).await;
        answers
            .into_iter()
            .map(|answer| answer.expect("the session is alive"))
            .collect()
    }

    async fn complete(&self, sequence: u64, tokens: &[FencingToken]) {
        let completions = self.aggregates.iter().zip(tokens);
        let completions: Vec<Completion> = completions
            .map(|(one, token)| completion(one, sequence, *token))
            .collect();
        for done in self.store.complete(self.session, 1, &completions).await {
            assert!(matches!(done.expect("taken"), Completed::Done { .. }));
        }
    }

    async fn run(&self, sequence: u64) -> Vec<FencingToken> {
        let token = |answer| match answer {
            Admission::Run(grant) => grant.token,
            other => panic!("{sequence} is next, and was answered {other:?}"),
        };
        self.admit(sequence).await.into_iter().map(token).collect()
    }

    /// Tell what each of so many messages cost.
    fn report(&self, what: &str, before: &Cost, rounds: u64) -> f64 {
        let after = counted(&self.server);
        let messages = (rounds * self.aggregates.len() as u64) as f64;
        let commands = (after.commands - before.commands) as f64 / messages;
        println!(
            "{what}: {commands:.2} commands, {:.1} µs in scripts, {:.1} µs of Redis' processor time a message",
            (after.micros - before.micros) / messages,
            (after.cpu_micros - before.cpu_micros) / messages,
        );
        commands
    }
}

#[tokio::test]
async fn a_message_in_its_order_costs_few_commands() {
    let Some(load) = Load::new().await else { return };
    let rounds = 400;
    let before = counted(&load.server);
    for sequence in 1..=rounds {
        let tokens = load.run(sequence).await;
        load.complete(sequence, &tokens).await;
    }
    let commands = load.report("in order", &before, rounds);
    // Two for each of admission and completion, and of each bucket the session and twice the token.
    assert!(commands < 6.0, "{commands}");
}

#[tokio::test]
async fn a_message_that_waited_costs_not_much_more() {
    let Some(load) = Load::new().await else { return };
    let rounds = 400;
    let before = counted(&load.server);
    for sequence in (2..=rounds).rev() {
        for answer in load.admit(sequence).await {
            assert_eq!(answer, Admission::Parked { halted: false });
        }
    }
    let parked = load.report("parked", &before, rounds);
    let before = counted(&load.server);
    let tokens = load.run(1).await;
    for sequence in 1..=rounds {
        load.complete(sequence, &tokens).await;
    }
    let drained = load.report("drained", &before, rounds);
    assert!(parked < 9.5, "{parked}");
    assert!(drained < 11.0, "{drained}");
}
