//! The least of Redis' protocol: one command over a connection of its own.

use std::io::{self, Error};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nil,
    /// A text or a number.
    Text(String),
    /// Several.
    List(Vec<Answer>),
}

impl Answer {
    /// Return the texts of a list; nothing is empty.
    ///
    /// # Panics
    /// When it is no list of texts.
    #[must_use]
    pub fn texts(self) -> Vec<String> {
        let Self::List(answers) = self else {
            panic!("{self:?} is no list");
        };
        let text = |answer| match answer {
            Self::Nil => String::new(),
            Self::Text(text) => text,
            Self::List(_) => panic!("a list in a list"),
        };
        answers.into_iter().map(text).collect()
    }
}

/// Send a command and read its answer.
pub(super) async fn ask(port: u16, command: &[&str]) -> io::Result<Answer> {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let mut text = format!("*{}\r\n", command.len());
        for word in command {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(text.as_bytes()).await?;
        read(&mut stream).await
    };
    tokio::time::timeout(LIMIT, asked).await?
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (kind, rest) = line.trim_end().split_at(1);
    let length = || rest.parse::<i64>().map_err(Error::other);
    match kind {
        "+" | ":" => Ok(Answer::Text(rest.to_owned())),
        "$" => match usize::try_from(length()?) {
            Err(_negative) => Ok(Answer::Nil),
            Ok(length) => {
                let mut text = vec![0; length + 2];
                stream.read_exact(&mut text).await?;
                text.truncate(length);
                Ok(Answer::Text(String::from_utf8_lossy(&text).into_owned()))
            }
        },
        "*" => {
            let mut answers = Vec::new();
            for _ in 0..length()? {
                answers.push(Box::pin(read(stream)).await?);
            }
            Ok(Answer::List(answers))
        }
        _ => Err(Error::other(line)),
    }
}
