//! The examples run and do what they say. Each is built by Cargo and run as a program of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::Command;

/// Build an example and return its program.
///
/// Cargo has built it already if all targets of the package were asked for; with `--test examples`
/// alone it has not, or holds an old one.
fn build(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--offline",
            "--package",
            "athomic",
            "--example",
            example,
        ])
        .arg("--target-dir")
        .arg(profile.parent().unwrap());
    match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => {}
        profile => drop(cargo.args(["--profile", profile])),
    }
    // The features of this test, so that nothing is built twice.
    for (feature, enabled) in [
        ("claim-check", cfg!(feature = "claim-check")),
        ("crypto", cfg!(feature = "crypto")),
        ("kafka", cfg!(feature = "kafka")),
        ("kafka-tls", cfg!(feature = "kafka-tls")),
        ("kafka-tls-vendored", cfg!(feature = "kafka-tls-vendored")),
        ("msgpack", cfg!(feature = "msgpack")),
        ("otel", cfg!(feature = "otel")),
        ("redis", cfg!(feature = "redis")),
        ("zstd", cfg!(feature = "zstd")),
    ] {
        if enabled {
            cargo.args(["--features", feature]);
        }
    }
    assert!(cargo.status().unwrap().success(), "`{cargo:?}` failed");
    profile.join("examples").join(example)
}

/// Take the settings that the environment of the test may hold out of a program's way.
fn without_settings(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let is_setting = name.to_str().is_some_and(|name| name.starts_with("ATHOMIC_"));
        if is_setting {
            command.env_remove(name);
        }
    }
    command
}

/// Run a program that succeeds; return what it prints and what it logs.
fn output_of(program: &mut Command) -> (String, String) {
    let output = program.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    (text, errors)
}

#[test]
fn the_quickstart_handles_and_commits_everything_and_ends() {
    let (text, errors) = output_of(&mut without_settings(build("quickstart")));
    for id in 1..=12 {
        let billed = text
            .lines()
            .any(|line| line.starts_with(&format!("  billing     order {id}: ")));
        assert!(billed, "order {id} is missing:\n{text}");
    }
    for expected in [
        "order 5: the bank is busy, to be tried again",
        "order 5: cid pays 500 (partition 0, offset 1, attempt 2)",
        "order 9: nothing to bill, to the dead letters",
        "orders together",
        "billing     committed 12 of 12",
        "statistics  committed 12 of 12",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing:\n{text}");
    }
    assert_eq!(errors, "", "nothing is logged unless asked for");
}

#[test]
fn the_idempotent_example_books_each_payment_once() {
    let (text, errors) = output_of(&mut without_settings(build("idempotent")));
    for expected in [
        "p3: the ledger is busy, to be tried again",
        "book     3 handled, 2 duplicates",
        "receipt  4 handled, 1 duplicates",
        "p1 booked 1 time",
        "p2 booked 1 time",
        "p3 booked 1 time",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing:\n{text}");
    }
    assert_eq!(errors, "", "nothing is logged unless asked for");
}

#[test]
fn the_queue_example_goes_on_after_an_error_and_shuts_down() {
    let (text, _errors) = output_of(&mut without_settings(build("queue")));
    for order in 1..=3 {
        let event = format!("event {{\"order\":{order}}}");
        assert!(text.contains(&event), "`{event}` is missing:\n{text}");
    }
    assert!(text.contains("shut down: runs = false"), "{text}");
}

#[test]
fn the_delayed_example_delivers_nothing_early_and_everything_as_it_was() {
    let (text, _errors) = output_of(&mut without_settings(build("delayed")));
    for expected in [
        "ann: published to user.follow-ups.v1[",
        "ben: waits in platform.internal.delay-1s.v1 for 700ms",
        "cid: waits in platform.internal.delay-3s.v1 for 2.5s",
        "refused: cannot publish to topic `user.follow-ups.v1`: a delay of 60s is longer than the longest",
        "onboarding for ben, asked for after 700ms: not early, headers athomic-content-type, athomic-message-id\n",
        "onboarding for cid, asked for after 2.5s: not early, headers athomic-content-type, athomic-message-id\n",
        "2 messages have waited",
        "stopped",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing:\n{text}");
    }
}

#[cfg(feature = "otel")]
#[test]
fn the_tracing_example_is_one_trace_for_one_tenant() {
    let mut program = without_settings(build("tracing"));
    let (text, _errors) = output_of(program.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT"));
    for expected in ["billing: attempt 1", "billing: attempt 2", "shipping: order 7"] {
        let line = format!("{expected} for acme, trace 0af7651916cd43dd8448eb211c80319c");
        assert!(text.contains(&line), "`{line}` is missing:\n{text}");
    }
    let retried = text.lines().find(|line| line.contains("athomic_retries_total"));
    assert!(retried.is_some_and(|line| line.ends_with(" 1")), "{text}");
}

#[test]
#[cfg(all(
    feature = "claim-check",
    feature = "crypto",
    feature = "msgpack",
    feature = "zstd"
))]
fn the_pipeline_example_shows_what_each_step_makes_of_a_payload() {
    let (text, _errors) = output_of(&mut without_settings(build("pipeline")));
    let expected = [
        ("small: a note of 5 bytes", 20..200),
        ("repeated: a note of 6000 bytes", 20..200),
        // A reference: the payload is in the store.
        ("large: a note of 40000 bytes", 61..62),
    ];
    let mut lines = text.lines().skip(1);
    for (begins, sizes) in expected {
        let line = lines.next().unwrap_or_default();
        let (note, record) = line.split_once(", in the record ").unwrap_or_default();
        assert_eq!(note.trim(), begins, "{text}");
        let (bytes, steps) = record.split_once(" bytes ").unwrap_or_default();
        assert!(sizes.contains(&bytes.parse().unwrap()), "{text}");
        let expected = "(msgpack,zstd,xchacha20poly1305:example,claim_check), readable: false";
        assert_eq!(steps, expected, "{text}");
    }
}

#[test]
fn the_retries_example_shows_each_way_that_a_failure_goes() {
    let (text, _errors) = output_of(&mut without_settings(build("retries")));
    let of = |who: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.split_once(who));
        lines.map(|(_, what)| what.trim()).collect()
    };
    let billing = [
        "o1, attempt 1: the bank is busy",
        "o1, attempt 2: the bank is busy",
        "o1, attempt 3: charged",
        "o2, attempt 1: charged",
        "o3, attempt 1: no such currency, to the dead letters",
        "o4, attempt 1: charged",
        "o3, attempt 1: charged",
    ];
    assert_eq!(of(" s  billing "), billing, "in place, and replayed:\n{text}");
    let shipping = [
        "o1, attempt 1: shipped",
        "o2, attempt 1: out of stock, again in 1 s",
        "o3, attempt 1: shipped",
        "o4, attempt 1: shipped",
        "o2, attempt 2: shipped",
    ];
    assert_eq!(of(" s  shipping "), shipping, "by a delay topic:\n{text}");
    for expected in [
        "charge gave up orders.v1 offset 2: no such currency: XXX",
        "1 of 1 replayed",
        "stopped",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing:\n{text}");
    }
}

/// Run the example of ordered consumption and look at what it shows.
fn check_ordered(environment: &[(&str, &str)]) {
    let mut program = without_settings(build("ordered"));
    let (text, _errors) = output_of(program.envs(environment.iter().copied()));
    let shows = |order: &str, expected: &str| {
        let found = text
            .lines()
            .any(|line| line.trim_start().starts_with(order) && line.contains(expected));
        assert!(found, "`{order}` with `{expected}` is missing:\n{text}");
    };
    let waits = [
        "2 (order.events.v1[2]@",
        "3 (order.events.v1[0]@",
        "5 (order.events.v1[2]@",
    ];
    for expected in waits {
        shows("order b-", expected);
    }
    shows(
        "a-",
        "3 2 5 4 1         1 2 3 4 5         placed, paid, packed, shipped, delivered",
    );
    shows("b-", "5 4 3 2 1         1 2 3 4 5");
    shows("c-", "2 3 4 5 1         1 2 3 4 5");
    shows("stopped", "all is committed, nothing waits");
}

#[test]
fn the_ordered_example_shows_the_waiting_room_and_the_order() {
    check_ordered(&[]);
}

#[cfg(all(feature = "kafka", feature = "redis"))]
#[test]
fn the_ordered_example_does_the_same_on_kafka_and_redis_by_settings_alone() {
    let servers = (
        std::env::var("ATHOMIC_TEST_KAFKA"),
        std::env::var("ATHOMIC_TEST_REDIS"),
    );
    let (Ok(kafka), Ok(redis)) = servers else {
        eprintln!("skipped: ATHOMIC_TEST_KAFKA or ATHOMIC_TEST_REDIS is not set");
        return;
    };
    check_ordered(&[
        ("ATHOMIC_ENV", "servers"),
        (
            "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__BOOTSTRAP_SERVERS",
            kafka.as_str(),
        ),
        (
            "ATHOMIC_DATABASE__KVSTORE__ORDERING__PROVIDER__URI",
            redis.as_str(),
        ),
    ]);
}

#[cfg(feature = "kafka")]
mod orders {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::{build, without_settings};

    /// How long anything may take that has to happen.
    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn the_orders_service_runs_on_the_embedded_broker_by_one_variable() {
        let mut service = Service::start(&[("ATHOMIC_ENV", "embedded")]);
        service.wait_for("billing     o-1: ann pays 1250, 1250 in all");
        service.wait_for("billing     o-2: the bank declines (attempt 1)");
        service.wait_for("billing     o-3: the bank is busy (attempt 1)");
        service.wait_for("shipping    o-1: to ann (orders.paid.v1[");
        service.wait_for("billing     o-3: busy pays 300, 1550 in all");
        service.terminate();
    }

    #[test]
    fn the_orders_service_consumes_from_kafka_and_resumes_at_its_commit() {
        let Ok(servers) = std::env::var("ATHOMIC_TEST_KAFKA") else {
            eprintln!("skipped: ATHOMIC_TEST_KAFKA is not set");
            return;
        };
        let environment = [
            (
                "ATHOMIC_INTEGRATION__MESSAGING__CONSUMER__BOOTSTRAP_SERVERS",
                servers.as_str(),
            ),
            ("ATHOMIC_INTEGRATION__MESSAGING__TOPICS__AUTO_CREATE", "always"),
        ];
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();

        let mut service = Service::start(&environment);
        service.wait_for("started handlers=3");
        produce(
            &servers,
            &format!(
                "ann\t{{\"id\": \"{run}-1\", \"customer\": \"ann\", \"cents\": 1250}}\n\
                 ben\t{{\"id\": \"{run}-2\", \"customer\": \"ben\", \"cents\": 0}}\n\
                 busy\t{{\"id\": \"{run}-3\", \"customer\": \"busy\", \"cents\": 300}}\n\
                 lost\t{{\"id\": \"{run}-4\", \"customer\": \"lost\", \"cents\": 400}}\n\
                 ann\tthis is no order\n"
            ),
        );
        service.wait_for(&format!("billing     {run}-1: ann pays 1250"));
        service.wait_for(&format!("shipping    {run}-1: to ann (orders.paid.v1["));
        service.wait_for(&format!("billing     {run}-2: the bank declines (attempt 1)"));
        service.wait_for(&format!("billing     {run}-3: busy pays 300"));
        service.wait_for(&format!(
            "billing     {run}-4: the bank cannot be reached (attempt 3)"
        ));
        service.wait_for("the payload is not a `orders::handlers::Order`");
        service.wait_for("statistics  ");
        service.terminate();

        let mut again = Service::start(&environment);
        again.wait_for("started handlers=3");
        produce(
            &servers,
            &format!("ann\t{{\"id\": \"{run}-5\", \"customer\": \"ann\", \"cents\": 7}}\n"),
        );
        again.wait_for(&format!("shipping    {run}-5: to ann"));
        again.terminate();
        let repeated = again.seen.iter().find(|line| line.contains(&format!("{run}-1")));
        assert_eq!(repeated, None, "what was committed does not come again");
    }

    /// Write lines of key, tab and payload to the topic of orders, with a producer that is not ours:
    /// `kcat`, else the one of Kafka itself.
    fn produce(servers: &str, lines: &str) {
        const TOPIC: &str = "orders.placed.v1";
        let kcat = Command::new("kcat")
            .args(["-P", "-b", servers, "-t", TOPIC, "-K", "\t"])
            .stdin(Stdio::piped())
            .spawn();
        let mut producer = kcat.unwrap_or_else(|_| {
            let jars = std::env::var("ATHOMIC_TEST_KAFKA_LIBS").unwrap();
            Command::new("java")
                .args(["-cp", &format!("{jars}/*"), "kafka.tools.ConsoleProducer"])
                .args(["--bootstrap-server", servers, "--topic", TOPIC])
                .args(["--property", "parse.key=true"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let mut input = producer.stdin.take().unwrap();
        input.write_all(lines.as_bytes()).unwrap();
        drop(input);
        assert!(producer.wait().unwrap().success(), "the producer failed");
    }

    /// The example as a running program, and what it has printed and logged.
    struct Service {
        process: Child,
        lines: Receiver<String>,
        seen: Vec<String>,
    }

    impl Service {
        fn start(environment: &[(&str, &str)]) -> Self {
            let mut process = without_settings(build("orders"))
                .env_remove("RUST_LOG")
                .envs(environment.iter().copied())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (sender, lines) = channel();
            forward(process.stdout.take().unwrap(), sender.clone());
            forward(process.stderr.take().unwrap(), sender);
            Self {
                process,
                lines,
                seen: Vec::new(),
            }
        }

        /// Wait until a line with this text has come, now or before.
        fn wait_for(&mut self, text: &str) {
            let deadline = Instant::now() + SOON;
            while !self.seen.iter().any(|line| line.contains(text)) {
                match self
                    .lines
                    .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                {
                    Ok(line) => self.seen.push(line),
                    Err(end) => panic!("no line with `{text}` ({end}):\n{}", self.seen.join("\n")),
                }
            }
        }

        /// End it as a supervisor would, and check that it drains and succeeds.
        fn terminate(&mut self) {
            let id = self.process.id().to_string();
            let kill = Command::new("kill").args(["-TERM", &id]).status().unwrap();
            assert!(kill.success());
            self.wait_for("stopping signal=\"SIGTERM\"");
            self.wait_for(": stopped");
            assert!(self.ended().success());
        }

        fn ended(&mut self) -> ExitStatus {
            self.process.wait().unwrap()
        }
    }

    impl Drop for Service {
        fn drop(&mut self) {
            let _ended_already = self.process.kill();
            let _reaped_already = self.process.wait();
        }
    }

    /// Send each line of a pipe on, until it closes.
    fn forward(pipe: impl std::io::Read + Send + 'static, lines: Sender<String>) {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
    }
}
