//! Members of a group that are not ours: Kafka's own Java client, and kcat (librdkafka 2.0).

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::journal::Note;
use crate::rig::Rig;
use crate::tools::Tools;

/// The Java program of the tests, run from its source.
const JAVA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/java/Foreign.java");
/// How long it may take to commit, leave and end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A member of a group that is not ours; killed when it is dropped.
#[derive(Debug)]
pub struct Foreign {
    /// Its name in what it noted.
    pub name: &'static str,
    process: Child,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl Foreign {
    /// Let Kafka's own client join, with options such as `group.protocol=consumer`.
    ///
    /// It commits after each batch of records, and when it gives partitions back.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn java(rig: &Rig, tools: &Tools, name: &'static str, options: &[&str]) -> Self {
        let arguments = [&["consume", &rig.bootstrap, &rig.topic, &rig.group], options].concat();
        Self::run(name, &rig.log_of(name), tools.program(&arguments))
    }

    /// Let kcat join, with the classic protocol and the assignor that our members have.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn kcat(rig: &Rig, name: &'static str) -> Self {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &rig.bootstrap, "-u", "-f", "%p %o 0 %s\n"]);
        for option in [
            "partition.assignment.strategy=cooperative-sticky",
            "auto.offset.reset=earliest",
        ] {
            kcat.args(["-X", option]);
        }
        kcat.args(["-G", &rig.group, &rig.topic]);
        Self::run(name, &rig.log_of(name), kcat)
    }

    fn run(name: &'static str, log: &std::path::Path, mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the program is installed");
        let notes = Arc::default();
        let printed = process.stdout.take().expect("piped");
        tokio::spawn(read(printed, name, Arc::clone(&notes)));
        Self { name, process, notes }
    }

    /// Ask it to commit, leave and end, and wait until it has.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn terminate(&mut self) {
        let id = self.process.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(id).expect("not 0"), Signal::TERM).expect("it is ours");
        let ended = tokio::time::timeout(STOP_LIMIT, self.process.wait()).await;
        ended.expect("it ends in time").expect("its status");
    }

    /// Return what it has noted, which goes on growing.
    pub(crate) fn notes(&self) -> Arc<Mutex<Vec<Note>>> {
        Arc::clone(&self.notes)
    }
}

impl Tools {
    /// Prepare the Java program of the tests: `odd` and `transactions` publish, `consume` is
    /// [`Foreign::java`].
    #[must_use]
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.java();
        command.arg(JAVA).args(arguments);
        command
    }
}

/// Note what a member prints: partition, offset, time (0 where it cannot tell) and value of each record.
async fn read(printed: ChildStdout, worker: &'static str, notes: Arc<Mutex<Vec<Note>>>) {
    let mut lines = BufReader::new(printed).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let note = note(&line, worker).unwrap_or_else(|| panic!("{worker} printed `{line}`"));
        notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

fn note(line: &str, worker: &'static str) -> Option<Note> {
    let mut words = line.splitn(4, ' ');
    let (partition, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let told: u128 = words.next()?.parse().ok()?;
    let (key, seq) = words
        .next()?
        .strip_prefix("{\"key\":\"")?
        .split_once("\",\"seq\":")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(Note {
        worker,
        is_end: true,
        key: key.to_owned(),
        seq: seq.strip_suffix('}')?.parse().ok()?,
        partition,
        offset,
        nanos: if told == 0 { now } else { told },
    })
}

#[cfg(test)]
mod tests {
    use super::note;

    #[test]
    fn what_members_print_is_read() {
        let read = note(r#"3 17 42 {"key":"k5","seq":9}"#, "java").expect("a whole line");
        assert_eq!((read.partition, read.offset, read.nanos), (3, 17, 42));
        assert_eq!((read.key.as_str(), read.seq), ("k5", 9));
        assert!(note(r#"3 17 42 {"key":"k5"}"#, "java").is_none());
    }
}
