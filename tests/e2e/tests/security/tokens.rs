//! SASL OAUTHBEARER with tokens of an OpenID Connect server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::app::{Client, HANDLER};
use crate::broker::{Broker, shared};
use crate::logs;

const CLIENT: &str = "carol";
const SECRET: &str = "canary-of-the-client";

/// A server that gives tokens to who knows the client's secret.
struct TokenServer {
    url: String,
    /// What was given, and what was refused.
    given: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<u32>>,
}

impl TokenServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/token", listener.local_addr().expect("an address"));
        let server = Self {
            url,
            given: Arc::default(),
            refused: Arc::default(),
        };
        let (given, refused) = (Arc::clone(&server.given), Arc::clone(&server.refused));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, Arc::clone(&given), Arc::clone(&refused)));
            }
        });
        server
    }
}

async fn answer(mut connection: TcpStream, given: Arc<Mutex<Vec<String>>>, refused: Arc<Mutex<u32>>) {
    let mut request = String::new();
    let mut buffer = [0; 4096];
    // The body is short and follows at once; its last parameter is the scope.
    while !request.contains("scope=kafka") {
        let length = connection.read(&mut buffer).await.expect("a request");
        assert!(length > 0, "a whole request: {request}");
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let credentials = base64(format!("{CLIENT}:{SECRET}").as_bytes(), STANDARD);
    let is_known = request.contains(&format!("Basic {credentials}"));
    let (status, body) = if is_known {
        let token = token();
        let body = format!("{{\"access_token\":\"{token}\",\"token_type\":\"bearer\",\"expires_in\":60}}");
        given.lock().expect("no panic").push(token);
        ("200 OK", body)
    } else {
        *refused.lock().expect("no panic") += 1;
        ("401 Unauthorized", "{\"error\":\"invalid_client\"}".to_owned())
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    let reply = format!("{head}Connection: close\r\n\r\n{body}");
    // Who asked may be gone.
    let _sent = connection.write_all(reply.as_bytes()).await;
}

/// Make a token that nobody has signed: the test broker takes it.
fn token() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let claims = format!("{{\"sub\":\"{CLIENT}\",\"iat\":{now},\"exp\":{}}}", now + 60);
    let part = |text: &str| {
        base64(text.as_bytes(), FOR_ADDRESSES)
            .trim_end_matches('=')
            .to_owned()
    };
    format!("{}.{}.", part("{\"alg\":\"none\"}"), part(&claims))
}

const STANDARD: [char; 2] = ['+', '/'];
const FOR_ADDRESSES: [char; 2] = ['-', '_'];

fn base64(bytes: &[u8], last: [char; 2]) -> String {
    let letters: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(last)
        .collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0_usize, |number, index| {
            number << 8 | usize::from(three.get(index).copied().unwrap_or(0))
        });
        for index in 0..4 {
            let letter = letters[number >> (18 - 6 * index) & 63];
            text.push(if index <= three.len() { letter } else { '=' });
        }
    }
    text
}

fn client(broker: &Broker, server: &TokenServer, topic: &str, secret: &str) -> Client {
    Client::new(broker, "TOKEN", topic, "sasl_ssl")
        .set("mechanism", "OAUTHBEARER")
        .set("oauth_token_url", &server.url)
        .set("oauth_client_id", CLIENT)
        .set("oauth_client_secret", secret)
        .set("oauth_scope", "kafka")
        .with("integration.messaging.consumer.librdkafka.\"debug\"", "all")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_server_lets_in_and_is_never_shown() {
    let Some(broker) = shared().await else { return };
    let server = TokenServer::start().await;
    let topic = broker.topic("tokens").await;
    broker
        .allow(CLIENT, &["Read", "Write"], &["--topic", &topic])
        .await;
    broker.allow(CLIENT, &["Read"], &["--group", &topic]).await;
    client(broker, &server, &topic, SECRET).works().await;

    let mut hidden = server.given.lock().expect("no panic").clone();
    assert!(!hidden.is_empty(), "tokens were given");
    hidden.push(SECRET.to_owned());
    hidden.push(base64(format!("{CLIENT}:{SECRET}").as_bytes(), STANDARD));
    let logged = logs::all();
    for secret in hidden {
        assert!(
            !logged.contains(secret.trim_end_matches(['.', '='])),
            "the log shows {secret}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_ends_the_start_without_a_flood_of_questions() {
    let Some(broker) = shared().await else { return };
    let server = TokenServer::start().await;
    let topic = broker.topic("tokens").await;
    let error = client(broker, &server, &topic, "canary-of-the-wrong")
        .fails()
        .await;
    for word in [
        "`default`",
        HANDLER,
        "`security.oauth_client_secret`",
        "invalid_client",
    ] {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    assert!(!error.contains("canary-of-the"), "{error}");
    let asked = *server.refused.lock().expect("no panic");
    assert!((1..=10).contains(&asked), "asked {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_token_has_no_other_rights_than_its_own() {
    let Some(broker) = shared().await else { return };
    let server = TokenServer::start().await;
    let topic = broker.topic("tokens").await;
    let began = std::time::Instant::now();
    let error = client(broker, &server, &topic, SECRET).fails().await;
    assert!(
        error.contains(&format!("its user needs `Read` on topic `{topic}`")),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}
