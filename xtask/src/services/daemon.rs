//! One server process: start it, know it again, wait for it, end it.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use super::state::{Server, State};
use super::{START_LIMIT, jars, kafka, ports, redis};
use crate::{interrupt, process, workspace};

/// How long a server may take to end after SIGTERM. Its data are thrown away in any case.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Another program may take a port between our look and the server's start.
const ATTEMPTS: usize = 3;

/// The servers that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Kafka,
    Redis,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Kafka];

    /// Write the settings into `dir`.
    fn prepare(self, dir: &Path, ports: &[u16]) -> Result<()> {
        match self {
            Self::Kafka => kafka::prepare(dir, ports[0], ports[1]),
            Self::Redis => redis::prepare(dir, ports[0]),
        }
    }

    /// The shell script that becomes the server, with the settings' path in `$0` and the folder of
    /// the jars in `$1`.
    fn script(self) -> &'static str {
        match self {
            Self::Kafka => kafka::SCRIPT,
            Self::Redis => redis::SCRIPT,
        }
    }

    /// The name of the settings file in the server's folder.
    fn config(self) -> &'static str {
        match self {
            Self::Kafka => kafka::CONFIG,
            Self::Redis => redis::CONFIG,
        }
    }

    pub(crate) fn answers(self, port: u16) -> bool {
        match self {
            Self::Kafka => kafka::answers(port),
            Self::Redis => redis::answers(port),
        }
        .unwrap_or(false)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        })
    }
}

/// Start a server of this kind, record it in `state` and wait until it answers.
pub(crate) fn start(kind: Kind, state: &mut State) -> Result<()> {
    for attempt in 1.. {
        match try_start(kind, state) {
            Err(error) if attempt < ATTEMPTS && error.to_string().contains("in use") => {
                eprintln!("{kind}: the port was taken meanwhile, trying another");
            }
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

fn try_start(kind: Kind, state: &mut State) -> Result<()> {
    let dir = workspace::services_dir().join("run").join(kind.to_string());
    recreate(&dir)?;
    let ports = ports::free(2)?;
    kind.prepare(&dir, &ports)?;
    let mut server = Server {
        kind,
        port: ports[0],
        pid: None,
        pid_file: dir.join("pid"),
        config: dir.join(kind.config()),
        log: dir.join(format!("{kind}.log")),
    };
    // Recorded before it exists: if xtask is killed in between, the next one finds the pid file.
    state.record(server.clone())?;
    let mut child = spawn(&server)?;
    server.pid = Some(child.id());
    state.record(server.clone())?;
    wait_for(kind, &server, || has_ended(&mut child))
}

/// Wait until a server that may have been started by another xtask answers.
pub(crate) fn wait_until_ready(kind: Kind, server: &Server) -> Result<()> {
    wait_for(kind, server, || server.running_pid().is_none())
}

fn wait_for(kind: Kind, server: &Server, mut has_ended: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while !kind.answers(server.port) {
        interrupt::check()?;
        if has_ended() {
            bail!("{kind} ended while starting; {}", process::end_of(&server.log));
        }
        if Instant::now() > deadline {
            bail!(
                "{kind} does not answer after {START_LIMIT:?}; see {}",
                server.log.display()
            );
        }
        interrupt::pause(Duration::from_millis(50));
    }
    Ok(())
}

/// End these servers: SIGTERM to all, then SIGKILL to those that take too long.
///
/// Returns when the processes are gone.
pub(crate) fn stop(servers: &[&Server]) -> Result<()> {
    servers.iter().for_each(|server| signal(server, Signal::TERM));
    if are_gone_within(servers, STOP_LIMIT) {
        return Ok(());
    }
    servers.iter().for_each(|server| signal(server, Signal::KILL));
    if !are_gone_within(servers, STOP_LIMIT) {
        bail!("a server is still there after SIGKILL");
    }
    Ok(())
}

/// The command line of a process, its words parted by spaces; `None` if there is no such process.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&words).replace('\0', " "));
    }
    process::output(Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]))
}

fn recreate(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Start the process, in a group of its own so that Ctrl-C in the terminal does not reach it.
///
/// From the first moment its command line holds the settings' path and the pid file its id.
fn spawn(server: &Server) -> Result<Child> {
    let log = File::create(&server.log)?;
    Command::new("sh")
        .args(["-c", &format!("echo $$ > pid\n{}", server.kind.script())])
        .args([&server.config, &jars::libs()])
        .current_dir(server.config.parent().expect("a file in the server's folder"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", server.kind))
}

fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Signal the server and what its script may be running before it.
fn signal(server: &Server, signal: Signal) {
    let pid = server
        .running_pid()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // Failing means that it has just ended by itself.
        kill_process_group(pid, signal).ok();
    }
}

fn are_gone_within(servers: &[&Server], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while servers.iter().any(|server| server.running_pid().is_some()) {
        if Instant::now() > deadline {
            return false;
        }
        interrupt::pause(Duration::from_millis(50));
    }
    true
}
