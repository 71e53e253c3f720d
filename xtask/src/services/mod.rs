//! Real Kafka and Redis for tests and benches, without containers.
//!
//! Everything is in `target/services`: the jars, one folder per server under `run`, and `state.json`
//! with what runs. Two locks keep several xtasks apart: `lock` is held while servers are started or
//! ended; `users.lock` is held, shared, by each chore that uses them. The last user ends what
//! `services up` did not ask to keep. Locks die with their process, so a killed chore blocks nobody,
//! and the servers that it left behind are taken over by the next one.

mod daemon;
mod jars;
mod kafka;
mod lock;
mod ports;
mod redis;
mod requirements;
mod state;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{interrupt, workspace};
use daemon::Kind;
use state::{Server, State};

/// Start the servers, if they do not run, and leave them running.
pub(crate) fn up() -> Result<()> {
    let _lock = lock::operation(&dir()?)?;
    let mut state = State::load(&dir()?)?;
    ensure_running(&mut state)?;
    state.kept = true;
    state.save()?;
    print_environment(&state);
    Ok(())
}

/// End the servers, whoever started them.
pub(crate) fn down() -> Result<()> {
    let _lock = lock::operation(&dir()?)?;
    stop(Kind::ALL, &mut State::load(&dir()?)?)
}

/// Print where the servers are, or which of them does not run.
pub(crate) fn status() -> Result<ExitCode> {
    let state = State::load(&dir()?)?;
    let all_answer = Kind::ALL
        .map(|kind| report(kind, &state))
        .iter()
        .all(|answers| *answers);
    if !all_answer {
        return Ok(ExitCode::FAILURE);
    }
    print_environment(&state);
    Ok(ExitCode::SUCCESS)
}

/// Say how this server does, and return whether it answers.
fn report(kind: Kind, state: &State) -> bool {
    let Some((server, pid)) = state
        .server(kind)
        .and_then(|server| Some((server, server.running_pid()?)))
    else {
        eprintln!("{kind}: not running");
        return false;
    };
    let answers = kind.answers(server.port);
    let how = if answers { "answers" } else { "does not answer" };
    eprintln!(
        "{kind}: 127.0.0.1:{} {how}, process {pid}, log {}",
        server.port,
        server.log.display()
    );
    answers
}

/// Running servers, in use by this process.
///
/// Dropping it ends them, unless another xtask still uses them or `services up` keeps them.
#[derive(Debug)]
pub(crate) struct Services {
    environment: Vec<(&'static str, String)>,
    users: File,
}

impl Services {
    /// Start the servers, or join those that run.
    pub(crate) fn start() -> Result<Self> {
        let dir = dir()?;
        let _lock = lock::operation(&dir)?;
        let users = lock::join_users(&dir)?;
        let mut state = State::load(&dir)?;
        ensure_running(&mut state)?;
        Ok(Self {
            environment: environment(&state),
            users,
        })
    }

    /// The variables that tell a child where the servers are.
    pub(crate) fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    fn release(&self) -> Result<()> {
        let dir = dir()?;
        let _lock = lock::operation_despite_signals(&dir)?;
        let mut state = State::load(&dir)?;
        if state.kept || !lock::is_last_user(&self.users) {
            return Ok(());
        }
        stop(Kind::ALL, &mut state)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            eprintln!(
                "warning: the servers may still run ({error:#}); `cargo xtask services down` ends them"
            );
        }
    }
}

/// Provide Kafka's jars, for those who start brokers of their own, and return where they are.
pub(crate) fn kafka_libs() -> Result<PathBuf> {
    let _lock = lock::operation(&dir()?)?;
    requirements::provide(jars::are_complete())?;
    jars::provide()?;
    Ok(jars::libs())
}

fn dir() -> Result<PathBuf> {
    let dir = workspace::services_dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Bring both servers up; if one fails, end those that this call started.
fn ensure_running(state: &mut State) -> Result<()> {
    requirements::provide(jars::are_complete())?;
    jars::provide()?;
    let before = running(state);
    if before.is_empty() {
        state.kept = false; // what `services up` wanted kept is gone, as after a reboot
    }
    let result = Kind::ALL.iter().try_for_each(|kind| ensure(*kind, state));
    if result.is_err() {
        stop(
            running(state).into_iter().filter(|kind| !before.contains(kind)),
            state,
        )?;
    }
    result
}

fn running(state: &State) -> Vec<Kind> {
    let runs = |kind: &Kind| {
        state
            .server(*kind)
            .is_some_and(|server| server.running_pid().is_some())
    };
    Kind::ALL.into_iter().filter(runs).collect()
}

fn ensure(kind: Kind, state: &mut State) -> Result<()> {
    if let Some(server) = state.server(kind) {
        // A server of a killed `up` may still be starting: give it its time before replacing it.
        if server.running_pid().is_some() && daemon::wait_until_ready(kind, server).is_ok() {
            return Ok(());
        }
        interrupt::check()?;
        stop([kind], state)?;
    }
    daemon::start(kind, state)
}

fn stop(kinds: impl IntoIterator<Item = Kind>, state: &mut State) -> Result<()> {
    let kinds: Vec<Kind> = kinds.into_iter().collect();
    let servers: Vec<&Server> = kinds.iter().filter_map(|kind| state.server(*kind)).collect();
    daemon::stop(&servers)?;
    state.forget(&kinds)
}

/// The names of all variables in [`Services::environment`].
pub(crate) const VARIABLES: [&str; 5] = [
    "KAFKA_BOOTSTRAP",
    "REDIS_URL",
    "ATHOMIC_TEST_KAFKA",
    "ATHOMIC_TEST_REDIS",
    "ATHOMIC_TEST_KAFKA_LIBS",
];

fn environment(state: &State) -> Vec<(&'static str, String)> {
    let port = |kind| state.server(kind).map_or(0, |server| server.port);
    let kafka = format!("127.0.0.1:{}", port(Kind::Kafka));
    let redis = format!("redis://127.0.0.1:{}/0", port(Kind::Redis));
    let libs = jars::libs().display().to_string();
    VARIABLES
        .into_iter()
        .zip([kafka.clone(), redis.clone(), kafka, redis, libs])
        .collect()
}

fn print_environment(state: &State) {
    for (name, value) in environment(state) {
        println!("{name}={value}");
    }
}

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(120);
