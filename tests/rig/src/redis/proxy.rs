//! A proxy in front of a server that delays answers, loses them, and cuts connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of the server's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// They pass.
    Pass,
    /// They pass so much later.
    Late(Duration),
    /// They are lost: the server did what it was told, and nobody hears of it.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct State {
    replies: Replies,
    /// Raised to cut the connections of before.
    cuts: u64,
}

/// A proxy on a port of its own; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Proxy {
    /// Begin to pass connections on to a port of this machine.
    ///
    /// # Panics
    /// When there is no port to be had.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let first = State {
            replies: Replies::Pass,
            cuts: 0,
        };
        let state = Arc::new(watch::channel(first).0);
        let states = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let states = states.subscribe();
                tokio::spawn(async move {
                    // A connection that breaks is what it is here for.
                    let _cut = pass(client, port, states).await;
                });
            }
        });
        Self { address, state, task }
    }

    /// Return where it is, as the settings of a store have it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on answers pass, come late, or are lost.
    pub fn replies(&self, replies: Replies) {
        self.state.send_modify(|state| state.replies = replies);
    }

    /// Cut all connections. New ones are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

async fn pass(client: TcpStream, port: u16, mut states: watch::Receiver<State>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let cuts = states.borrow().cuts;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let replies = states.clone();
    let there = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    tokio::select! {
        passed = async { tokio::try_join!(there, back(from_server, to_client, replies)) } => passed.map(drop),
        _ = states.wait_for(|state| state.cuts > cuts) => Ok(()),
    }
}

/// Pass answers on. Where some were lost the connection is of no use any more once others should pass.
async fn back(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    states: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut lost = false;
    loop {
        let read = server.read(&mut buffer).await?;
        if read == 0 {
            return client.shutdown().await;
        }
        let replies = states.borrow().replies;
        match replies {
            Replies::Lost => {
                lost = true;
                continue;
            }
            Replies::Late(delay) => tokio::time::sleep(delay).await,
            Replies::Pass => {}
        }
        if lost {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        client.write_all(&buffer[..read]).await?;
    }
}
