//! What foreign producers write and what happens to topics: nothing of it stops a consumer, and nothing is
//! left out.

mod support;

use std::time::Duration;

use athomic::handler::MessageContext;
use athomic::handler::register::subscribe;
use athomic::message::RawMessage;
use athomic::payload::{DecodeError, Payload};
use athomic::transport::NewTopic;
use athomic::{App, RunningApp};
use athomic_rig::{Rig, Tool, Tools, unique, until, within};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SOON: Duration = Duration::from_secs(60);

type KeyAndPayload<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// A message as it came.
struct Whole(RawMessage);

impl Payload for Whole {
    type Target = Self;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        Ok(Self(context.message().clone()))
    }
}

/// A topic on the shared broker, and Kafka's tools; nothing where they are not.
async fn stage(topic: &NewTopic) -> Option<(Rig, Tools)> {
    let tools = Tools::from_environment()?;
    let bootstrap = std::env::var("ATHOMIC_TEST_KAFKA").ok()?;
    Some((
        Rig::on(bootstrap, env!("CARGO_TARGET_TMPDIR"), topic).await,
        tools,
    ))
}

/// Start an application that gives us each message of the rig's topic.
async fn consume(rig: &Rig) -> (RunningApp, UnboundedReceiver<RawMessage>) {
    consume_as(rig, &rig.group, "", |_message| Duration::ZERO).await
}

/// Start an application of a group that takes a time over each message of the rig's topic and then gives
/// it to us.
async fn consume_as(
    rig: &Rig,
    group: &str,
    settings: &str,
    time: fn(&RawMessage) -> Duration,
) -> (RunningApp, UnboundedReceiver<RawMessage>) {
    let (seen, messages) = unbounded_channel();
    let handler = subscribe(&*rig.topic)
        .group_id(group)
        .handler(move |Whole(message): Whole| {
            let seen = seen.clone();
            async move {
                tokio::time::sleep(time(&message)).await;
                seen.send(message).map_err(|_gone| "the test has ended")
            }
        });
    let servers = vec![rig.bootstrap.clone()];
    let app = App::builder()
        .loader(|loader| {
            loader
                .text("test.toml", format!("{SETTINGS}{settings}"))
                .set("integration.messaging.consumer.bootstrap_servers", servers)
        })
        .without_discovery()
        .register(handler)
        .build()
        .expect("an application");
    (app.start().await.expect("it starts"), messages)
}

const SETTINGS: &str = r#"
[integration.messaging.provider]
backend = "kafka"

[integration.messaging.consumer]
commit_interval_ms = 100
"#;

async fn take(messages: &mut UnboundedReceiver<RawMessage>, count: usize) -> Vec<RawMessage> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        let next = tokio::time::timeout(SOON, messages.recv()).await;
        let next = next.unwrap_or_else(|_late| panic!("{} of {count} messages came", taken.len()));
        taken.push(next.expect("the application goes on"));
    }
    taken
}

fn text(message: &RawMessage) -> String {
    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
}

async fn run(tools: &Tools, arguments: &[&str]) {
    let output = tools
        .program(arguments)
        .output()
        .await
        .expect("java is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The bytes that the Java program makes: no codec makes them smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (state >> 16).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_records_of_every_codec_arrive_as_they_were() {
    let Some((rig, tools)) = stage(&NewTopic::new("odd", 1)).await else {
        return;
    };
    run(&tools, &["odd", &rig.bootstrap, &rig.topic]).await;
    let (app, mut messages) = consume(&rig).await;
    let all = take(&mut messages, 30).await;
    for (codec, six) in ["none", "gzip", "snappy", "lz4", "zstd"]
        .into_iter()
        .zip(all.chunks(6))
    {
        let key_and_payload: Vec<_> = six
            .iter()
            .map(|message| (message.key(), message.payload()))
            .collect();
        let expected: [KeyAndPayload<'_>; 5] = [
            (Some(b"key"), Some(b"value")),
            (None, Some(b"null key")),
            (Some(b""), Some(b"empty key")),
            (Some(b"tombstone"), None),
            (Some(b"empty"), Some(b"")),
        ];
        assert_eq!(key_and_payload[..5], expected, "{codec}");
        assert_eq!(six[5].key(), Some(&b"large"[..]));
        assert!(
            six[5].payload() == Some(&*noise(1_000_000)),
            "a million bytes by {codec}"
        );
        let headers: Vec<_> = six[0]
            .headers()
            .iter()
            .map(|header| {
                (
                    header.name.to_string(),
                    header.value.as_deref().map(<[u8]>::to_vec),
                )
            })
            .collect();
        let some = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let expected = [
            some("codec", codec),
            some("twice", "1"),
            some("twice", "2"),
            ("null".to_owned(), None),
            some("empty", ""),
        ];
        assert_eq!(headers, expected);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_javas_transactions_only_committed_ones_are_seen_and_the_lag_is_0() {
    let Some((rig, tools)) = stage(&NewTopic::new("transactions", 3)).await else {
        return;
    };
    let (app, mut messages) = consume(&rig).await;
    run(&tools, &["transactions", &rig.bootstrap, &rig.topic]).await;
    // Ten of twenty transactions, of ten records for each of three partitions.
    let all = take(&mut messages, 300).await;
    assert!(all.iter().all(|message| text(message).starts_with("kept ")));
    for partition in 0..3 {
        let of_partition = all.iter().filter(|message| message.partition() == partition);
        let offsets: Vec<_> = of_partition.map(RawMessage::offset).collect();
        assert_eq!(offsets.len(), 100);
        assert!(offsets.is_sorted(), "{offsets:?}");
    }
    // 200 records and 20 markers each, the last two being an aborted record and its marker.
    within(SOON, "the lag is 0", async || {
        rig.committed().await == [(0, 220), (1, 220), (2, 220)].into()
    })
    .await;
    assert!(
        messages.try_recv().is_err(),
        "nothing came twice, or of an aborted transaction"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_compacted_topic_what_is_left_is_read_and_the_lag_is_0() {
    let mut topic = NewTopic::new("compacted", 1);
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "100"),
    ] {
        topic.config.insert(name.to_owned(), value.to_owned());
    }
    let Some((rig, _tools)) = stage(&topic).await else {
        return;
    };
    let (app, mut messages) = consume(&rig).await;
    rig.produce((0..10).map(|number| format!("k{number}:old\n")).collect())
        .await;
    take(&mut messages, 10).await;
    app.stop().await;
    assert_eq!(rig.committed().await, [(0, 10)].into());
    // The group stands at 10; of what follows, only the last of each key is kept, behind 900 that go.
    rig.produce(
        (0..1000)
            .map(|number| format!("k{}:{number}\n", number % 10))
            .collect(),
    )
    .await;
    // Another producer's records begin a new segment, which is never compacted.
    rig.produce("end:end\n".to_owned()).await;
    until("the topic is compacted", async || {
        let group = unique("looker");
        let (app, mut messages) = consume_as(&rig, &group, "", |_message| Duration::ZERO).await;
        let first = take(&mut messages, 1).await[0].offset();
        app.stop().await;
        first >= 900
    })
    .await;
    let (app, mut messages) = consume(&rig).await;
    let left: Vec<_> = take(&mut messages, 11).await.iter().map(text).collect();
    let mut expected: Vec<_> = (990..1000).map(|number| number.to_string()).collect();
    expected.push("end".to_owned());
    assert_eq!(left, expected);
    within(SOON, "the lag is 0", async || {
        rig.committed().await == [(0, 1011)].into()
    })
    .await;
    app.stop().await;
}

/// A handler that takes longer than a session and a poll may.
async fn keeps_its_partition(name: &str, settings: &str) {
    let Some((rig, _tools)) = stage(&NewTopic::new(name, 1)).await else {
        return;
    };
    let settings = format!("max_poll_interval_ms = 4000\nrevoke_timeout_ms = 1000\n{settings}");
    let (app, mut messages) = consume_as(&rig, &rig.group, &settings, |message| match message.payload() {
        Some(b"slow") => Duration::from_secs(12),
        _ => Duration::ZERO,
    })
    .await;
    rig.produce("k:slow\nk:next\n".to_owned()).await;
    let seen: Vec<_> = take(&mut messages, 2).await.iter().map(text).collect();
    assert_eq!(seen, ["slow", "next"]);
    within(SOON, "both are committed", async || {
        rig.committed().await == [(0, 2)].into()
    })
    .await;
    app.stop().await;
    assert!(messages.recv().await.is_none(), "each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_slower_than_every_time_out_keeps_its_partition() {
    keeps_its_partition("slow-classic", "session_timeout_ms = 3000\n").await;
}

/// There the broker says how long a session lasts: ten seconds in our tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_slower_than_every_time_out_keeps_its_partition_by_the_consumer_protocol() {
    keeps_its_partition("slow-consumer", "group_protocol = \"consumer\"\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_is_handled_from_its_first_message() {
    let Some((rig, tools)) = stage(&NewTopic::new("anew", 1)).await else {
        return;
    };
    let (app, mut messages) = consume(&rig).await;
    rig.produce("k:old0\nk:old1\nk:old2\n".to_owned()).await;
    take(&mut messages, 3).await;
    let topic = ["--topic", &rig.topic];
    for change in [&["--delete"][..], &["--create", "--partitions", "1"]] {
        let arguments = [change, &topic].concat();
        tools.run(Tool::Topics, &rig.bootstrap, &arguments).await;
    }
    rig.produce((0..6).map(|number| format!("k:new{number}\n")).collect())
        .await;
    let mut seen = Vec::new();
    while !(0..6).all(|number| seen.contains(&format!("new{number}"))) {
        seen.push(text(&take(&mut messages, 1).await[0]));
    }
    println!("handled of the new topic: {seen:?}");
    within(SOON, "the lag is 0", async || {
        rig.committed().await == [(0, 6)].into()
    })
    .await;
    app.stop().await;
}
