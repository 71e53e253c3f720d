//! `state.json`: which servers run, and where.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::daemon::{self, Kind};

/// All that outlives an xtask.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Set by `services up`: chores that use the servers leave them running.
    pub(crate) kept: bool,
    servers: Vec<Server>,
    #[serde(skip)]
    path: PathBuf,
}

/// One server process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    /// `None` while the process is being started; then `pid_file` may know more.
    pub(crate) pid: Option<u32>,
    /// Written by the process itself before anything else.
    pub(crate) pid_file: PathBuf,
    /// Its settings; also what its command line is known by.
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
}

impl State {
    /// Read the state in `dir`; without a file nothing runs.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("state.json");
        let state = match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { path, ..state })
    }

    /// Write the state in one step: a killed xtask leaves the old file or the new one, never a part.
    pub(crate) fn save(&self) -> Result<()> {
        let fresh = self.path.with_extension("json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&fresh, &self.path).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Forget servers that have ended, and save. Without any, nothing is left to keep.
    pub(crate) fn forget(&mut self, kinds: &[Kind]) -> Result<()> {
        self.servers.retain(|server| !kinds.contains(&server.kind));
        self.kept &= !self.servers.is_empty();
        self.save()
    }

    pub(crate) fn server(&self, kind: Kind) -> Option<&Server> {
        self.servers.iter().find(|server| server.kind == kind)
    }

    /// Record `server` in place of an earlier one of its kind, and save.
    pub(crate) fn record(&mut self, server: Server) -> Result<()> {
        self.servers.retain(|other| other.kind != server.kind);
        self.servers.push(server);
        self.save()
    }
}

impl Server {
    /// The process, if it still is the one that was started: process ids are used again.
    pub(crate) fn running_pid(&self) -> Option<u32> {
        let pid = self
            .pid
            .or_else(|| fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok())?;
        daemon::command_line(pid)?
            .contains(&*self.config.to_string_lossy())
            .then_some(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(dir: &Path, pid: Option<u32>) -> Server {
        Server {
            kind: Kind::Redis,
            port: 20_001,
            pid,
            pid_file: dir.join("pid"),
            config: dir.join("redis.conf"),
            log: dir.join("redis.log"),
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("athomic-xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = scratch("round-trip");
        let mut state = State::load(&dir).unwrap();
        assert_eq!(state.server(Kind::Redis), None);

        state.kept = true;
        state.record(server(&dir, None)).unwrap();
        state.record(server(&dir, Some(7))).unwrap();
        let loaded = State::load(&dir).unwrap();
        assert_eq!(loaded, state);
        assert_eq!(loaded.server(Kind::Redis).unwrap().pid, Some(7));
        assert_eq!(loaded.server(Kind::Kafka), None);

        state.forget(&[Kind::Redis]).unwrap();
        assert_eq!(
            State::load(&dir).unwrap(),
            State {
                path: dir.join("state.json"),
                ..State::default()
            }
        );
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_process_of_another_command_line_is_not_ours() {
        let dir = scratch("identity");
        assert_eq!(server(&dir, Some(std::process::id())).running_pid(), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
