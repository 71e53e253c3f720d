//! A failover to a replica that lacks the last writes, under an application that goes on.

mod support;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use athomic_core::app::{App, RunningApp};
use athomic_core::consumer::OrderingCounts;
use athomic_core::handler::register::ordered;
use athomic_core::settings::Settings;
use athomic_core::testing::{eventually, eventually_async};
use athomic_core::transport::memory::MemoryBroker;
// Who links it can name its backend in settings.
use athomic_redis as _;
use support::server::{LIMIT, Server};
use tokio::net::{TcpListener, TcpStream};

const TOPIC: &str = "orders";
const ORDER: &str = "order-17";

/// An address behind which servers change, as managed servers have one.
struct Endpoint {
    port: u16,
    target: Arc<AtomicU16>,
}

impl Endpoint {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let target = Arc::new(AtomicU16::new(target));
        let current = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = current.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _cut = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, target }
    }

    fn turn_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }
}

/// What handlers did, by sequence.
type Done = Arc<Mutex<Vec<u64>>>;

async fn start(endpoint: &Endpoint, group: &str, done: &Done) -> RunningApp {
    let settings = format!(
        "[database.kvstore.ordering.provider]\nbackend = \"redis\"\nuri = \"redis://127.0.0.1:{}\"\n",
        endpoint.port
    );
    let none: [(&str, &str); 0] = [];
    let settings = Settings::loader().text("test.toml", settings).environment(none);
    let broker = MemoryBroker::new();
    broker.control().create_topic(TOPIC, 2);
    let done = Arc::clone(done);
    let handler = ordered(TOPIC)
        .group_id(group)
        .handler_id("on_event")
        .key(|event: &(String, u64)| event.0.clone())
        .sequence(|event: &(String, u64)| event.1)
        .handler(move |event: (String, u64)| {
            done.lock().expect("nobody panicked").push(event.1);
            async {}
        });
    let app = App::builder()
        .without_discovery()
        .broker(broker)
        .register(handler);
    let app = app.settings(settings.load().expect("the settings are valid").settings);
    let app = app.build().expect("it is valid");
    app.start().await.expect("it starts")
}

async fn publish(app: &RunningApp, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        let sent = app.publisher().publish(TOPIC, &(ORDER, sequence)).await;
        sent.expect("the broker is there");
    }
}

fn counts(app: &RunningApp) -> OrderingCounts {
    app.ordering().handler("on_event").expect("it is there").counts()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lacks_the_last_writes_takes_over_and_nothing_waits_for_ever() {
    if support::redis().is_none() {
        return;
    }
    let mut primary = Server::start(&[]).await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", primary.port)]).await;
    assert!(eventually(LIMIT, || replica.info("master_link_status") == "up").await);
    let endpoint = Endpoint::to(primary.port).await;
    let done = Done::default();
    let group = support::scope(|_| {}).id().to_owned();
    let app = start(&endpoint, &group, &done).await;
    publish(&app, 1..=5).await;
    assert!(eventually(LIMIT, || counts(&app).completed == 5).await);
    let known = primary.info("master_repl_offset");
    assert!(eventually(LIMIT, || replica.info("slave_repl_offset") >= known).await);

    // From here on the replica hears nothing.
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    publish(&app, (6..=10).chain([12])).await;
    assert!(eventually(LIMIT, || counts(&app).completed == 10 && counts(&app).parked > 0).await);
    endpoint.turn_to(replica.port);
    primary.kill();

    assert!(eventually(LIMIT, || counts(&app).state_losses == 1).await);
    publish(&app, [11]).await;
    assert!(eventually(LIMIT, || counts(&app).completed == 12).await);
    // What was told to the primary is remembered here, and neither waited for nor repeated.
    assert_eq!(
        *done.lock().expect("nobody panicked"),
        (1..=12).collect::<Vec<_>>()
    );
    let desk = app.ordering().handler("on_event").expect("it is there");
    let settled = async || {
        let order = desk.aggregate(ORDER).await.ok().flatten();
        order.is_some_and(|order| order.state.next == Some(13) && order.waiting.is_empty())
    };
    assert!(eventually_async(LIMIT, settled).await);
    let events = desk.events(10).await.expect("it answers");
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("the store has lost state")),
        "{events:?}"
    );
    app.stop().await;
}
