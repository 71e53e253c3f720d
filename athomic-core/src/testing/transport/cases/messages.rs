//! What a message carries comes out as it went in.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::TestCluster;
use super::super::rig::Rig;
use crate::message::{Headers, RawMessage, Timestamp};
use crate::transport::OutgoingMessage;

/// Publish messages and read them back from the beginning.
async fn round_trip<C: TestCluster>(rig: &Rig<'_, C>, messages: Vec<OutgoingMessage>) -> Vec<RawMessage> {
    let count = messages.len();
    rig.publish(messages).await;
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], count).await;
    let read = member.seen.drain(..).map(|(_, message)| message).collect();
    member.leave().await;
    read
}

/// Headers keep their order; a name may come twice; null is not empty.
pub async fn headers_keep_order_repeats_and_nulls<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let headers = Headers::new()
        .with("tenant", "acme")
        .with("hop", "1")
        .with_null("checked")
        .with("hop", "2")
        .with("empty", "")
        .with("binary", vec![0, 255]);
    let mut message = rig.message(0, "with headers");
    message.headers = headers.clone();
    let read = round_trip(&rig, vec![message, rig.message(0, "without")]).await;
    assert_eq!(read[0].headers(), headers);
    assert!(read[1].headers().is_empty());
}

/// A null key, an empty key and a key are three things; so it is with payloads.
pub async fn null_and_empty_keys_and_payloads_differ<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let bytes = || [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))];
    let mut messages = Vec::new();
    for key in bytes() {
        for payload in bytes() {
            let mut message = rig.message(0, "");
            (message.key, message.payload) = (key.clone(), payload);
            messages.push(message);
        }
    }
    let read = round_trip(&rig, messages.clone()).await;
    for (read, sent) in read.iter().zip(&messages) {
        assert_eq!(
            (read.key(), read.payload()),
            (sent.key.as_deref(), sent.payload.as_deref())
        );
    }
}

/// The log gives each message a time, near the time of publishing.
pub async fn messages_carry_a_time<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let read = round_trip(&rig, vec![rig.message(0, "now")]).await;
    let time = read[0].timestamp().expect("the log keeps times");
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    assert!(Timestamp::from(now - hour) < time && time < Timestamp::from(now + hour));
}

/// A message that nearly fills a broker's default limit of 1 MiB passes, and takes others along.
pub async fn large_messages_pass<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let large = "x".repeat(900_000);
    let messages = ["small", &large, "small again"].map(|payload| rig.message(0, payload));
    let read = round_trip(&rig, messages.into()).await;
    let lengths: Vec<_> = read.iter().map(RawMessage::size).collect();
    assert_eq!(lengths, [5, 900_000, 11]);
}

/// What was published one after the other is read so, over many calls.
pub async fn messages_of_a_partition_keep_their_order<C: TestCluster>(cluster: &C) {
    let rig = Rig::new(cluster, 1).await;
    let mut sent = Vec::new();
    for call in 0..10 {
        sent.extend(rig.publish_numbered(0, &format!("{call}-"), 100).await);
    }
    let mut member = rig.member().await;
    rig.until_seen(&mut [&mut member], sent.len()).await;
    assert_eq!(member.payloads(), sent);
    assert!(member.offsets().is_sorted_by(|earlier, later| earlier < later));
    member.leave().await;
}
