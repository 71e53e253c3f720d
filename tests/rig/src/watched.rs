//! A server as a process: killed, paused and started again, and gone with the test in any case.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// How long a server may take to hand over and end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Leave a shell behind that kills the process when nobody holds our standard input.
///
/// So a server ends with the test in whatever way that ends, `kill -9` included. A line on standard input
/// tells the shell that the server is gone: its process id may be another's by then.
const WATCH: &str = r"
exec 3<&0 </dev/null
{ read -r line <&3 || kill -9 $$; } &
exec 3<&-
";

/// A server that can be started more than once.
#[derive(Debug)]
pub(crate) struct Watched {
    name: String,
    log: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Watched {
    /// Name a server that does not run yet, and the file for what it prints.
    pub(crate) fn new(name: String, log: PathBuf) -> Self {
        Self {
            name,
            log,
            process: Mutex::new(None),
        }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Return its process id while it runs.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.process.lock().await.as_ref().and_then(Child::id)
    }

    /// Start a shell's script that becomes the server, in a folder.
    ///
    /// # Panics
    /// When it runs already, or cannot be started.
    pub(crate) async fn start(&self, script: &str, arguments: &[&str], folder: &Path) {
        let mut process = self.process.lock().await;
        assert!(process.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.expect("the log can be written");
        let child = Command::new("sh")
            .args(["-c", &format!("{WATCH}{script}")])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            // Ctrl-C in a terminal is for the test; its end is what ends the server.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        *process = Some(child.expect("a shell"));
    }

    /// Check that it has not ended by itself.
    ///
    /// # Panics
    /// When it has, or was not started.
    pub(crate) async fn assert_runs(&self) {
        let ended = match self.process.lock().await.as_mut() {
            Some(child) => child.try_wait().expect("its state"),
            None => panic!("{} was not started", self.name),
        };
        assert!(
            ended.is_none(),
            "{} ended while starting; {}",
            self.name,
            self.end_of_log()
        );
    }

    /// Send it a signal.
    ///
    /// # Panics
    /// When it does not run.
    pub(crate) async fn signal(&self, signal: Signal) {
        let process = self.process.lock().await;
        let child = process.as_ref();
        send(
            child.unwrap_or_else(|| panic!("{} does not run", self.name)),
            signal,
        );
    }

    /// Signal it, wait for its end, and tell the watching shell. Does nothing if it does not run.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    pub(crate) async fn end(&self, signal: Signal) {
        let mut process = self.process.lock().await;
        let Some(child) = process.as_mut() else {
            return;
        };
        let mut watcher = child.stdin.take();
        send(child, signal);
        let ended = tokio::time::timeout(STOP_LIMIT, child.wait()).await;
        ended
            .unwrap_or_else(|_late| panic!("{} takes too long to end; {}", self.name, self.end_of_log()))
            .expect("its status");
        if let Some(watcher) = &mut watcher {
            // It is gone already if the whole group was killed from outside.
            let _watching = watcher.write_all(b"\n").await;
        }
        *process = None;
    }

    /// Quote the last lines of its log, for the text of a panic.
    pub(crate) fn end_of_log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("the end of {}:\n{last}", self.log.display())
    }
}

/// Signal a process that was not yet waited for, so that the id is its own.
fn send(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(id) = id {
        // Failing means that it has just ended by itself.
        let _ended = kill_process(id, signal);
    }
}
