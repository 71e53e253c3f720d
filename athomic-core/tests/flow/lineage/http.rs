//! The store `http`, against a server that answers what it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athomic_core::lineage::{EventType, LineageEvent};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::schema::assert_valid;
use crate::support::{Cluster, handler, until};

/// One request: its first line and headers, and its body.
type Request = (String, LineageEvent);

/// A server that answers each request with the next status of a list, and with 201 at its end.
async fn server(statuses: &'static [u16]) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (kept, mut statuses) = (Arc::clone(&requests), statuses.iter().copied());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Some(request) = read(stream, || statuses.next().unwrap_or(201)).await else {
                continue;
            };
            kept.lock().unwrap().push(request);
        }
    });
    (format!("http://{address}"), requests)
}

async fn read(stream: TcpStream, status: impl FnOnce() -> u16) -> Option<Request> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let answer = format!(
        "HTTP/1.1 {} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        status()
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    Some((head, serde_json::from_slice(&body).ok()?))
}

#[tokio::test]
async fn events_are_posted_again_after_what_passes_and_dropped_after_a_refusal() {
    let (url, requests) = server(&[503, 429, 400, 422]).await;
    let settings = format!(
        "[lineage]\nenabled = true\ninterval_seconds = 0.2\n\
         [lineage.store]\nbackend = 'http'\nurl = '{url}/'\napi_key = 'canary'\ntimeout_ms = 2000"
    );
    let running = Cluster::new(1)
        .start_with(&settings, handler().handler(async |_: u32| {}))
        .await;
    let posted = || {
        requests
            .lock()
            .unwrap()
            .iter()
            .map(|(_, event)| event.event_type)
            .collect::<Vec<_>>()
    };
    let (start, goes_on) = (Some(EventType::Start), Some(EventType::Running));
    until("some is posted", || posted().len() >= 5).await;
    assert_eq!(posted()[..5], [start, start, start, goes_on, goes_on]);
    until("it is counted", || running.lineage().written >= 1).await;
    assert_eq!(running.lineage().dropped, 2, "two were refused");
    running.stop().await;
    assert_eq!(posted().last(), Some(&Some(EventType::Complete)));
    let requests = requests.lock().unwrap();
    for (head, event) in requests.iter() {
        assert!(head.starts_with("POST /api/v1/lineage HTTP/1.1"), "{head}");
        assert!(
            head.to_lowercase().contains("authorization: bearer canary"),
            "{head}"
        );
        assert_valid(event);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_answer_holds_up_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = format!(
        "[lineage]\nenabled = true\n[lineage.store]\nbackend = 'http'\nurl = '{url}'\ntimeout_ms = 100"
    );
    let cluster = Cluster::new(1);
    cluster.publish_all(0, 0..10);
    let running = cluster
        .start_with(&settings, handler().handler(async |_: u32| {}))
        .await;
    cluster.until_committed(0, 10).await;
    drop(listener);
    tokio::time::timeout(Duration::from_secs(20), running.stop())
        .await
        .expect("it stops");
}
