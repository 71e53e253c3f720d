//! A server that answers as Confluent's schema registry does, over real sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What a server does in the place of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trouble {
    /// Answers with this status and a page of a proxy.
    Status(u16),
    /// Takes the question and never answers.
    Silence,
    /// Closes the connection in the middle of the answer.
    Cut,
}

/// One schema as it was registered.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) subject: String,
    pub(super) version: u32,
    pub(super) id: u32,
    pub(super) body: Value,
}

/// A question: its method, its path, and its header `authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) path: String,
    pub(super) login: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    schemas: Vec<Registered>,
    guids: BTreeMap<String, u32>,
    trouble: Option<Trouble>,
    /// How long each answer takes.
    delay: Duration,
    login: Option<String>,
    asked: Vec<Question>,
}

/// A registry, which ends with the value.
pub(super) struct Server {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&served)));
            }
        });
        Self {
            url,
            state,
            task: task.abort_handle(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Register a schema as a version of a subject.
    pub(super) fn add(&self, id: u32, subject: &str, body: Value) {
        register(&mut self.state(), id, subject, body);
    }

    /// Register a schema of Avro, by its text.
    pub(super) fn add_avro(&self, id: u32, subject: &str, schema: &str) {
        self.add(id, subject, json!({"schema": schema}));
    }

    /// Have a schema known by a GUID as well.
    pub(super) fn name(&self, guid: &str, id: u32) {
        self.state().guids.insert(guid.to_owned(), id);
    }

    pub(super) fn trouble(&self, trouble: impl Into<Option<Trouble>>) {
        self.state().trouble = trouble.into();
    }

    pub(super) fn slow(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Answer only to this header `authorization`.
    pub(super) fn lock(&self, login: &str) {
        self.state().login = Some(login.to_owned());
    }

    /// Return how often a path was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        let state = self.state();
        state
            .asked
            .iter()
            .filter(|question| question.path == path)
            .count()
    }

    pub(super) fn questions(&self) -> Vec<Question> {
        self.state().asked.clone()
    }
}

fn register(state: &mut State, id: u32, subject: &str, body: Value) -> u32 {
    let versions = state.schemas.iter().filter(|schema| schema.subject == subject);
    let version = u32::try_from(versions.count()).unwrap() + 1;
    state.schemas.push(Registered {
        subject: subject.to_owned(),
        version,
        id,
        body,
    });
    id
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (line, head, _body) = read(&mut stream).await?;
        let mut words = line.split(' ');
        let (_method, path) = (words.next()?, words.next()?);
        let login = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name.eq_ignore_ascii_case("authorization")).then(|| value.to_owned())
        });
        let (trouble, delay, answer) = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.asked.push(Question {
                path: path.to_owned(),
                login: login.clone(),
            });
            let answer = match &state.login {
                Some(wanted) if Some(wanted) != login.as_ref() => {
                    (401, json!({"error_code": 401, "message": "Unauthorized"}))
                }
                _ => answer(&state, path),
            };
            (state.trouble, state.delay, answer)
        };
        tokio::time::sleep(delay).await;
        let (status, body) = match trouble {
            Some(Trouble::Status(status)) => (status, "<html>".to_owned()),
            Some(Trouble::Silence) => std::future::pending().await,
            Some(Trouble::Cut) | None => (answer.0, answer.1.to_string()),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        if trouble == Some(Trouble::Cut) {
            stream.write_all(&body.as_bytes()[..length / 2]).await.ok()?;
            stream.shutdown().await.ok()?;
            return None;
        }
        stream.write_all(body.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// Read one request: its first line, its headers and its body.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let (mut first, mut head, mut length) = (String::new(), String::new(), 0);
    stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head += &line.replace('\r', "");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first, head, body))
}

/// Answer a question as Confluent's registry does.
fn answer(state: &State, path: &str) -> (u16, Value) {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let by_id = |id: u32| state.schemas.iter().find(|schema| schema.id == id);
    let no_schema = || (404, json!({"error_code": 40403, "message": "Schema not found"}));
    match parts.as_slice() {
        ["schemas", "types"] => (200, json!(["JSON", "PROTOBUF", "AVRO"])),
        ["schemas", "ids", id] => {
            let schema = id.parse().ok().and_then(by_id);
            schema.map_or_else(no_schema, |schema| (200, schema.body.clone()))
        }
        ["schemas", "ids", id, "subjects"] => {
            let schema = id.parse().ok().and_then(by_id);
            schema.map_or_else(no_schema, |schema| (200, json!([schema.subject])))
        }
        ["schemas", "guids", guid] => {
            let schema = state.guids.get(*guid).and_then(|id| by_id(*id));
            schema.map_or_else(no_schema, |schema| (200, schema.body.clone()))
        }
        ["subjects", subject, "versions", version] => {
            let subject = subject.replace("%2F", "/");
            let mut schemas = state.schemas.iter().filter(|schema| schema.subject == subject);
            if schemas.clone().next().is_none() {
                return (404, json!({"error_code": 40401, "message": "Subject not found"}));
            }
            match schemas.find(|schema| schema.version.to_string() == *version) {
                Some(schema) => {
                    let mut body = schema.body.clone();
                    body["subject"] = schema.subject.clone().into();
                    body["version"] = schema.version.into();
                    body["id"] = schema.id.into();
                    (200, body)
                }
                None => (404, json!({"error_code": 40402, "message": "Version not found"})),
            }
        }
        _ => (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"})),
    }
}
