//! The transport on a real broker: `ATHOMIC_TEST_KAFKA=host:port`, as `cargo xtask services up` prints it.

mod support;

use std::time::Duration;

use athomic_core::message::{Header, Headers};
use athomic_core::settings::{GroupProtocol, OffsetReset, ProducerClient};
use athomic_core::transport::{
    Admin, Consumer, ConsumerEvent, FetchLimits, Fetched, NewTopic, OutgoingMessage, Publisher, Transport,
    TransportError,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use support::{ALL, Kafka, SOON, batch, ended, fetch, payloads, text, transport, unique};
use tokio::time::timeout;

#[tokio::test]
async fn a_group_resumes_at_its_commit() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    kafka.publish(0, &["a", "b", "c"]).await;
    let first = kafka.member().await;
    let mut assignment = first.assigned(1).await.remove(0);
    assert_eq!(payloads(&mut *assignment.stream, 3).await, ["a", "b", "c"]);
    first.0.commit(&[kafka.offset(0, 2)]).await.expect("committed");
    first.close().await;

    let second = kafka.member().await;
    let mut assignment = second.assigned(1).await.remove(0);
    assert_eq!(payloads(&mut *assignment.stream, 1).await, ["c"]);
    second.close().await;
}

#[tokio::test]
async fn what_is_not_committed_comes_again() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    kafka.publish(0, &["a", "b"]).await;
    for _ in 0..2 {
        let member = kafka.member().await;
        let mut assignment = member.assigned(1).await.remove(0);
        assert_eq!(payloads(&mut *assignment.stream, 2).await, ["a", "b"]);
        member.close().await;
    }
}

#[tokio::test]
async fn keys_payloads_and_headers_arrive_as_they_were() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    let headers = Headers::new()
        .with("h", "1")
        .with_null("h")
        .with("h", "")
        .with("g", "2");
    let full = OutgoingMessage {
        key: Some("k".into()),
        headers: headers.clone(),
        ..kafka.message("v")
    };
    let empty = OutgoingMessage {
        key: Some("".into()),
        ..kafka.message("")
    };
    let tombstone = OutgoingMessage {
        key: Some("k".into()),
        payload: None,
        ..kafka.message("")
    };
    let keyless = OutgoingMessage {
        key: None,
        ..kafka.message("v")
    };
    for delivery in kafka
        .publisher
        .publish(vec![full, empty, tombstone, keyless])
        .await
    {
        delivery.expect("acknowledged");
    }
    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    let batch = batch(&mut *assignment.stream).await;
    assert_eq!(batch.len(), 4);
    assert_eq!(
        (batch.key(0), batch.payload(0)),
        (Some(&b"k"[..]), Some(&b"v"[..]))
    );
    assert_eq!((batch.key(1), batch.payload(1)), (Some(&b""[..]), Some(&b""[..])));
    assert_eq!((batch.key(2), batch.payload(2)), (Some(&b"k"[..]), None));
    assert_eq!((batch.key(3), batch.payload(3)), (None, Some(&b"v"[..])));
    assert_eq!(batch.headers(0), headers);
    assert_eq!(
        batch.headers(0).iter().nth(1),
        Some(&Header {
            name: "h".into(),
            value: None
        })
    );
    assert!(batch.headers(1).is_empty());
    assert!(batch.timestamp(0).expect("a time").as_millis() > 1_700_000_000_000);
    member.close().await;
}

#[tokio::test]
async fn two_members_share_a_topic() {
    let Some(kafka) = Kafka::with_topic(4).await else {
        return;
    };
    share(&kafka).await;
}

#[tokio::test]
async fn two_members_share_a_topic_by_the_consumer_protocol() {
    let protocol = GroupProtocol::Consumer;
    let Some(kafka) = Kafka::with(4, |settings| settings.consumer.group_protocol = protocol).await else {
        return;
    };
    share(&kafka).await;
}

#[tokio::test]
async fn two_members_share_a_topic_by_eager_rebalances() {
    let strategy = ("partition.assignment.strategy".to_owned(), "range".to_owned());
    let Some(kafka) = Kafka::with(2, |settings| settings.consumer.librdkafka.extend([strategy])).await else {
        return;
    };
    let first = kafka.member().await;
    let before = first.assigned(2).await;
    let second = kafka.member().await;
    let revocation = first.revoked().await;
    assert_eq!(revocation.partitions.len(), 2, "all go, then some come back");
    revocation.complete();
    let mut kept = first.assigned(1).await.remove(0);
    let mut moved = second.assigned(1).await.remove(0);
    assert!(kept.epoch > before[0].epoch);
    for assignment in [&mut kept, &mut moved] {
        kafka.publish(assignment.partition.partition, &["later"]).await;
        assert_eq!(payloads(&mut *assignment.stream, 1).await, ["later"]);
    }
    for mut assignment in before {
        ended(&mut *assignment.stream).await;
    }
    first.close().await;
    second.close().await;
}

/// Let a second member take half of the partitions from the first, which takes its time.
async fn share(kafka: &Kafka) {
    for partition in 0..4 {
        kafka.publish(partition, &["a", "b"]).await;
    }
    let first = kafka.member().await;
    let mut all = first.assigned(4).await;
    for assignment in &mut all {
        assert_eq!(payloads(&mut *assignment.stream, 2).await, ["a", "b"]);
    }
    let second = kafka.member().await;
    let revocation = first.revoked().await;
    assert_eq!(revocation.partitions.len(), 2, "half of them go");
    let (mut gone, mut kept): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|assignment| revocation.partitions.contains(&assignment.partition));

    // While they drain, nobody else has them, and commits for them work.
    let early = timeout(Duration::from_secs(3), async {
        loop {
            match second.0.next_event().await {
                // It is told that it has nothing yet.
                Ok(ConsumerEvent::Assigned(nothing)) if nothing.is_empty() => {}
                event => return event,
            }
        }
    });
    let early = early.await;
    assert!(
        early.is_err(),
        "partitions were given away while they drained: {early:?}"
    );
    let commits: Vec<_> = gone
        .iter()
        .map(|assignment| kafka.offset(assignment.partition.partition, 1))
        .collect();
    first.0.commit(&commits).await.expect("committed while draining");
    revocation.complete();

    let mut moved = second.assigned(2).await;
    for assignment in &mut moved {
        assert_eq!(
            payloads(&mut *assignment.stream, 1).await,
            ["b"],
            "read on from the commit"
        );
    }
    for assignment in &mut gone {
        ended(&mut *assignment.stream).await;
    }
    // What stayed reads on, without a gap and without a repetition.
    for assignment in &mut kept {
        kafka.publish(assignment.partition.partition, &["c"]).await;
        assert_eq!(payloads(&mut *assignment.stream, 1).await, ["c"]);
    }
    first.close().await;
    let inherited = second.assigned(2).await;
    assert!(
        inherited
            .iter()
            .all(|assignment| assignment.epoch > moved[0].epoch)
    );
    second.close().await;
}

#[tokio::test]
async fn a_rebalance_at_the_end_of_the_log_leaves_nothing_out() {
    let Some(kafka) = Kafka::with_topic(2).await else {
        return;
    };
    let first = kafka.member().await;
    let mut all = first.assigned(2).await;
    for round in 0..3 {
        let now = format!("{round}");
        for assignment in &mut all {
            kafka.publish(assignment.partition.partition, &[&now]).await;
            assert_eq!(payloads(&mut *assignment.stream, 1).await, [now.as_str()]);
        }
        let second = kafka.member().await;
        let revocation = first.revoked().await;
        let position = all
            .iter()
            .position(|it| revocation.partitions.contains(&it.partition));
        let mut gone = all.remove(position.expect("one of them goes"));
        let at = kafka.offset(gone.partition.partition, round + 1);
        first.0.commit(&[at]).await.expect("committed");
        revocation.complete();
        ended(&mut *gone.stream).await;
        second.assigned(1).await;
        second.close().await;
        all.extend(first.assigned(1).await);
    }
    first.close().await;
}

#[tokio::test]
async fn the_position_passes_transaction_markers_and_aborted_records() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    let producer: BaseProducer = ClientConfig::new()
        .set(
            "bootstrap.servers",
            std::env::var("ATHOMIC_TEST_KAFKA").expect("a broker"),
        )
        .set("transactional.id", unique("transaction"))
        .create()
        .expect("a producer");
    producer.init_transactions(SOON).expect("ready");
    let send = |payload: &str| {
        producer.begin_transaction().expect("begun");
        let record = BaseRecord::<(), str>::to(&kafka.topic)
            .partition(0)
            .payload(payload);
        producer.send(record).expect("queued");
    };
    send("kept");
    producer.commit_transaction(SOON).expect("committed");
    send("dropped");
    producer.flush(SOON).expect("written");
    producer.abort_transaction(SOON).expect("aborted");

    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    assert_eq!(payloads(&mut *assignment.stream, 1).await, ["kept"]);
    // kept, its marker, dropped, its marker: the log ends at 4.
    let mut position = 1;
    while position < 4 {
        match fetch(&mut *assignment.stream).await {
            Fetched::Position(at) => position = at,
            other => panic!("expected a position, got {other:?}"),
        }
    }
    assert_eq!(position, 4);
    member.close().await;
}

#[tokio::test]
async fn limits_hold() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    let large = "x".repeat(100_000);
    kafka.publish(0, &vec!["small"; 200]).await;
    kafka.publish(0, &vec![large.as_str(); 40]).await;
    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    let limits = FetchLimits {
        messages: 50,
        bytes: 250_000,
    };
    let (mut seen, mut previous) = (0, None);
    while seen < 240 {
        let fetched = timeout(SOON, assignment.stream.fetch(limits))
            .await
            .expect("soon")
            .expect("readable");
        let Fetched::Records(batch) = fetched else {
            continue;
        };
        assert!(batch.len() <= 50);
        let bytes: usize = (0..batch.len())
            .filter_map(|index| batch.payload(index))
            .map(<[u8]>::len)
            .sum();
        if previous.is_some_and(|size| size >= large.len()) {
            assert!(bytes <= 350_000, "{bytes} bytes among large messages");
        }
        previous = Some(bytes / batch.len());
        seen += batch.len();
    }
    member.close().await;
}

#[tokio::test]
async fn closing_ends_a_fetch_that_waits_and_is_idempotent() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    let waiting = tokio::spawn(async move { ended(&mut *assignment.stream).await });
    tokio::task::yield_now().await;
    let (once, twice) = tokio::join!(member.0.close(), member.0.close());
    once.expect("closed");
    twice.expect("closed, again");
    waiting.await.expect("the stream ended");
    assert!(matches!(member.0.next_event().await, Err(TransportError::Closed)));
    assert!(matches!(
        member.0.commit(&[kafka.offset(0, 1)]).await,
        Err(TransportError::Closed)
    ));
}

#[tokio::test]
async fn closing_while_partitions_drain_ends() {
    let Some(kafka) = Kafka::with_topic(2).await else {
        return;
    };
    let first = kafka.member().await;
    first.assigned(2).await;
    let second = kafka.member().await;
    let revocation = first.revoked().await;
    first.close().await;
    drop(revocation);
    assert_eq!(second.assigned(2).await.len(), 2);
    second.close().await;
}

#[tokio::test]
async fn batches_outlive_their_consumer() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    kafka.publish(0, &["a", "b"]).await;
    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    let batch = batch(&mut *assignment.stream).await;
    member.close().await;
    drop((member, assignment));
    let reader = std::thread::spawn(move || (text(batch.payload(0)), batch.headers(0).len()));
    assert_eq!(reader.join().expect("no panic"), ("a".to_owned(), 0));
}

#[tokio::test]
async fn a_consumer_that_is_dropped_leaves_its_group() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    let first = kafka.member().await;
    first.assigned(1).await;
    drop(first);
    let second = kafka.member().await;
    second.assigned(1).await;
    second.close().await;
}

#[tokio::test]
async fn a_group_without_a_commit_stops_if_the_settings_say_so() {
    let Some(kafka) = Kafka::with(1, |settings| {
        settings.consumer.auto_offset_reset = OffsetReset::Fail
    })
    .await
    else {
        return;
    };
    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    for _ in 0..2 {
        let refused = timeout(SOON, assignment.stream.fetch(ALL))
            .await
            .expect("an error, soon");
        assert!(
            matches!(&refused, Err(TransportError::OffsetOutOfRange { partition }) if *partition == kafka.partition(0)),
            "{refused:?}"
        );
    }
    member.close().await;
}

#[tokio::test]
async fn an_unknown_topic_is_named() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    let mut subscription = kafka.subscription();
    subscription.topics = vec![unique("nowhere")];
    let member = kafka
        .transport
        .consumer(subscription.clone())
        .await
        .expect("a member");
    let event = timeout(SOON, member.next_event())
        .await
        .expect("trouble, soon")
        .expect("no end");
    assert!(
        matches!(&event, ConsumerEvent::Trouble(TransportError::UnknownTopic { topic }) if *topic == subscription.topics[0]),
        "{event:?}"
    );
    member.close().await.expect("closed");
}

#[tokio::test]
async fn a_broker_that_is_away_is_trouble_and_not_the_end() {
    let Some(kafka) = transport(|settings| {
        settings.consumer.bootstrap_servers = vec!["127.0.0.1:9".to_owned()];
        settings.producer.bootstrap_servers = vec!["127.0.0.1:9".to_owned()];
        settings.producer.delivery_timeout = Duration::from_millis(300);
    }) else {
        return;
    };
    let subscription = athomic_core::transport::Subscription {
        topics: vec!["any".to_owned()],
        group_id: "any".to_owned(),
        handler_id: "tests::handler".to_owned(),
        fetch: athomic_core::transport::FetchOverrides::default(),
    };
    let member = kafka.consumer(subscription).await.expect("a member");
    let event = timeout(SOON, member.next_event())
        .await
        .expect("trouble, soon")
        .expect("no end");
    assert!(
        matches!(&event, ConsumerEvent::Trouble(error) if error.is_retriable()),
        "{event:?}"
    );
    timeout(SOON, member.close()).await.expect("an end, soon").ok();

    let publisher = kafka.publisher().await.expect("a publisher");
    let message = OutgoingMessage {
        topic: "any".to_owned(),
        ..OutgoingMessage::default()
    };
    let outcome = timeout(SOON, publisher.publish(vec![message]))
        .await
        .expect("an end, soon")
        .remove(0);
    assert!(
        matches!(&outcome, Err(TransportError::Delivery { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn more_than_the_queue_holds_is_published_in_order() {
    let small = ("queue.buffering.max.messages".to_owned(), "100".to_owned());
    let Some(kafka) = Kafka::with(1, |settings| settings.producer.librdkafka.extend([small])).await else {
        return;
    };
    let messages: Vec<_> = (0..1000)
        .map(|number| kafka.message(&number.to_string()))
        .collect();
    let deliveries = timeout(SOON, kafka.publisher.publish(messages))
        .await
        .expect("an end, soon");
    let offsets: Vec<_> = deliveries
        .into_iter()
        .map(|delivery| delivery.expect("acknowledged").offset)
        .collect();
    assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
    kafka.publisher.flush(SOON).await.expect("nothing under way");
}

#[tokio::test]
async fn keys_go_where_kafkas_own_clients_put_them() {
    let Some(kafka) = Kafka::with_topic(3).await else {
        return;
    };
    let keyed = |key: &'static str| OutgoingMessage {
        partition: None,
        key: Some(key.into()),
        ..kafka.message("v")
    };
    let deliveries = kafka
        .publisher
        .publish(vec![
            keyed("21"),
            keyed("foobar"),
            keyed("a-little-bit-long-string"),
        ])
        .await;
    let partitions: Vec<_> = deliveries
        .into_iter()
        .map(|delivery| delivery.expect("acknowledged").partition.partition)
        .collect();
    // murmur2 of Kafka's own tests: -973932308, -790332482, -985981536; made positive, modulo 3.
    let expected: Vec<_> = [-973_932_308_i32, -790_332_482, -985_981_536]
        .map(|hash| (hash & 0x7fff_ffff) % 3)
        .into();
    assert_eq!(partitions, expected);
}

#[tokio::test]
async fn nothing_to_publish_is_done_at_once() {
    let Some(kafka) = Kafka::with_topic(1).await else {
        return;
    };
    assert!(kafka.publisher.publish(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn topics_are_made_once_and_looked_at_without_being_made() {
    let Some(kafka) = Kafka::with_topic(3).await else {
        return;
    };
    let admin = kafka.transport.admin().await.expect("an administrator");
    let missing = unique("missing");
    let asked = [kafka.topic.clone(), missing.clone()];
    for _ in 0..2 {
        let found = admin.partitions(&asked).await.expect("an answer");
        assert_eq!(found.get(&kafka.topic), Some(&3));
        assert_eq!(found.get(&missing), None);
    }
    let again = athomic_core::transport::NewTopic::new(&kafka.topic, 5);
    admin.create_topics(&[again]).await.expect("left as it is");
    assert_eq!(
        admin
            .partitions(&asked)
            .await
            .expect("an answer")
            .get(&kafka.topic),
        Some(&3)
    );
}

#[tokio::test]
async fn committed_offsets_can_be_asked_for() {
    let Some(kafka) = Kafka::with_topic(2).await else {
        return;
    };
    let member = kafka.member().await;
    member.assigned(2).await;
    member.0.commit(&[kafka.offset(1, 7)]).await.expect("committed");
    let admin = kafka.transport.admin().await.expect("an administrator");
    let asked = [kafka.partition(0), kafka.partition(1)];
    let committed = admin.committed(&kafka.group, &asked).await.expect("an answer");
    assert_eq!(committed, [kafka.offset(1, 7)]);
    member.close().await;
}

#[tokio::test]
async fn what_is_too_large_only_together_is_written_and_what_is_too_large_alone_fails_alone() {
    for client in CLIENTS {
        let kafka = Kafka::with(1, |settings| {
            settings.producer.client = *client;
            // All of a call in one request.
            settings.producer.linger = Duration::from_millis(200);
        });
        let Some(kafka) = kafka.await else { return };
        let mut topic = NewTopic::new(unique("small"), 1);
        topic.config = [("max.message.bytes".to_owned(), "3000".to_owned())].into();
        let admin = kafka.transport.admin().await.expect("an administrator");
        admin
            .create_topics(std::slice::from_ref(&topic))
            .await
            .expect("made");
        support::until_known(&admin, &topic.name).await;
        let message = |size: usize| OutgoingMessage {
            topic: topic.name.clone(),
            ..kafka.message(&"x".repeat(size))
        };
        let mut messages = vec![message(1000); 20];
        messages[7] = message(5000);
        let results = kafka.publisher.publish(messages).await;
        let mut offsets = std::collections::BTreeSet::new();
        for (place, result) in results.into_iter().enumerate() {
            match result {
                Ok(delivery) => assert!(offsets.insert(delivery.offset), "{client}: {place}"),
                Err(TransportError::TooLarge { .. }) => assert_eq!(place, 7, "{client}"),
                Err(error) => panic!("{client}: message {place}: {error:?}"),
            }
        }
        assert_eq!(offsets.len(), 19, "{client}");
        kafka.publisher.flush(SOON).await.expect("nothing is left");
    }
}

/// What publishes calls of many messages.
const CLIENTS: &[ProducerClient] = &[
    ProducerClient::Librdkafka,
    #[cfg(feature = "bulk")]
    ProducerClient::Rskafka,
];

#[cfg(feature = "bulk")]
#[tokio::test]
async fn in_bulk_headers_that_are_no_sorted_map_arrive_as_they_were() {
    let kafka = Kafka::with(1, |settings| settings.producer.client = ProducerClient::Rskafka);
    let Some(kafka) = kafka.await else { return };
    let sorted = Headers::new().with("a", "1").with("b", "");
    let unsorted = Headers::new().with("h", "1").with_null("h").with("g", "2");
    let with = |headers: &Headers| OutgoingMessage {
        key: Some("k".into()),
        headers: headers.clone(),
        ..kafka.message("v")
    };
    // The first call goes in bulk, the second cannot, and each arrives whole.
    for (first, second) in [(&sorted, &sorted), (&sorted, &unsorted)] {
        for delivery in kafka.publisher.publish(vec![with(first), with(second)]).await {
            delivery.expect("acknowledged");
        }
    }
    let member = kafka.member().await;
    let mut assignment = member.assigned(1).await.remove(0);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let batch = batch(&mut *assignment.stream).await;
        seen.extend((0..batch.len()).map(|index| batch.headers(index)));
    }
    assert_eq!(seen, [sorted.clone(), sorted.clone(), sorted, unsorted]);
    member.close().await;
}

#[cfg(feature = "bulk")]
#[tokio::test]
async fn calls_in_bulk_keep_their_order_and_write_each_message_once() {
    const EACH: usize = 500;
    let kafka = Kafka::with(2, |settings| settings.producer.client = ProducerClient::Rskafka);
    let Some(kafka) = kafka.await else { return };
    let call = |number: usize| {
        let message = |place: usize| OutgoingMessage {
            partition: Some(i32::from(place % 2 == 1)),
            ..kafka.message(&format!("{number}-{place:03}"))
        };
        kafka.publisher.publish((0..EACH).map(message).collect())
    };
    let calls: Vec<_> = (0..8).map(call).collect();
    for result in futures_util::future::join_all(calls).await.into_iter().flatten() {
        result.expect("acknowledged");
    }
    let member = kafka.member().await;
    for mut assignment in member.assigned(2).await {
        let all = payloads(&mut *assignment.stream, 8 * EACH / 2).await;
        for number in 0..8 {
            let beginning = format!("{number}-");
            let of_call: Vec<_> = all
                .iter()
                .filter(|payload| payload.starts_with(&beginning))
                .collect();
            assert_eq!(of_call.len(), EACH / 2);
            assert!(of_call.is_sorted(), "call {number}: {of_call:?}");
        }
    }
    member.close().await;
}
