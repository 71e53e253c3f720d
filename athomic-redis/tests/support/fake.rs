//! A server that answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What to do with the next command that is not of the greeting.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answer with these bytes.
    Say(&'static str),
    /// Answer nothing.
    Silence,
    /// Cut the connection.
    Cut,
}

/// A fake server. Remembers each command that it got, without those of the greeting.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    commands: Vec<Vec<String>>,
    connections: usize,
}

impl Fake {
    pub(crate) async fn start(steps: &[Step]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let fake = Self {
            port: listener.local_addr().expect("it is bound").port(),
            state: Arc::default(),
        };
        fake.then(steps);
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.lock().connections += 1;
                tokio::spawn(server.clone().serve(stream));
            }
        });
        fake
    }

    pub(crate) fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Say what comes next.
    pub(crate) fn then(&self, steps: &[Step]) {
        self.lock().steps.extend(steps.iter().cloned());
    }

    /// Return the commands so far, each with its arguments.
    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        self.lock().commands.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked under it")
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(command) = read(&mut stream).await {
            let step = match command[0].to_uppercase().as_str() {
                "CLIENT" => Step::Say(":1\r\n"),
                "INFO" => Step::Say("$21\r\nredis_version:7.0.15\n\r\n"),
                "PING" => Step::Say("+PONG\r\n"),
                _ => {
                    let mut state = self.lock();
                    state.commands.push(command);
                    state.steps.pop_front().unwrap_or(Step::Silence)
                }
            };
            match step {
                Step::Say(text) => {
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Step::Silence => {}
                Step::Cut => return,
            }
        }
    }
}

/// Read a command; nothing at the end.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = length(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; length(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

async fn length(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}
