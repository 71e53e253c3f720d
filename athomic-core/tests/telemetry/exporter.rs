//! The port for scrapers and probes.

use std::error::Error;
use std::net::SocketAddr;

use athomic_core::lifecycle::{Service, ServiceError, ServiceHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::receiver::until;
use crate::{Done, application, broker, start};

/// Ask for a path; return the status, the head and the body.
async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_scraper_gets_the_metrics_and_probes_their_verdict_until_the_end() {
    let broker = broker(&["t"]);
    let done = Done::default();
    let settings = "exporter_enabled = true\nexporter_port = 0\nmetrics = { enabled = true }\n";
    let app = start(application("shop", &broker, settings).register(done.counts("t"))).await;
    let address = app.exporter_address().unwrap();
    assert!(address.ip().is_loopback());
    let (status, head, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(text.contains("athomic_build_info{"), "{text}");
    let health = app.health();
    until("readiness", || health.check().is_ready()).await;
    for path in ["/live", "/ready"] {
        let (status, head, json) = get(address, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["phase"], json["consumers"].as_array().unwrap().len()),
            (&"running".into(), 1)
        );
    }
    assert_eq!(get(address, "/elsewhere").await.0, 404);
    // One who asks slowly does not hold up the end.
    let _idle = TcpStream::connect(address).await.unwrap();
    app.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn without_metrics_the_port_says_how_to_have_them() {
    let settings = "exporter_enabled = true\nexporter_port = 0\n";
    let app = start(application("shop", &broker(&[]), settings)).await;
    let (status, _, text) = get(app.exporter_address().unwrap(), "/metrics").await;
    assert_eq!(status, 404);
    assert!(text.contains("observability.metrics.enabled"), "{text}");
    app.stop().await;
    let off = start(application("shop", &broker(&[]), "exporter_port = 0\n")).await;
    assert_eq!(
        off.exporter_address(),
        None,
        "there is none unless it is asked for"
    );
    off.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_keeps_the_application_from_starting_and_is_named_by_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = format!("exporter_enabled = true\nexporter_port = {port}\n");
    let refused = application("shop", &broker(&[]), &settings)
        .build()
        .unwrap()
        .start()
        .await;
    let Err(error) = refused else {
        panic!("it is refused")
    };
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let told = causes.join(": ");
    assert!(
        told.contains("observability.exporter_port") && told.contains(&port.to_string()),
        "{told}"
    );
}

/// A service that takes until it is told to start.
struct Slow(std::sync::Mutex<Option<oneshot::Receiver<()>>>);

impl Service for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    async fn start(&self, _: ServiceHandle) -> Result<(), ServiceError> {
        let go = self.0.lock().unwrap().take();
        Ok(go.unwrap().await?)
    }
}

#[tokio::test]
async fn a_start_that_takes_long_is_live_and_not_ready() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let settings = format!("exporter_enabled = true\nexporter_port = {}\n", address.port());
    let (go, gone) = oneshot::channel();
    let app = application("shop", &broker(&[]), &settings).service(Slow(Some(gone).into()));
    let starting = tokio::spawn(start(app));
    let mut answer = None;
    while answer.is_none() {
        tokio::task::yield_now().await;
        if TcpStream::connect(address).await.is_ok() {
            answer = Some((get(address, "/live").await, get(address, "/ready").await));
        }
    }
    let ((live, ..), (ready, _, json)) = answer.unwrap();
    assert_eq!((live, ready), (200, 503));
    assert!(json.contains(r#""phase":"starting""#), "{json}");
    go.send(()).unwrap();
    let app = starting.await.unwrap();
    assert_eq!(get(address, "/ready").await.0, 200);
    app.stop().await;
}
