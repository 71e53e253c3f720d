//! Child processes: run to their end, with signals passed on.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// How long a command may take whose failure is no fault, such as a look at the network.
const PATIENCE: Duration = Duration::from_secs(120);

/// Run `command` to its end and fail unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let child = spawn(command)?;
    expect_success(command, wait(child, None)?)
}

/// Like [`run`], passing each line of its standard output on and to `read`.
pub(crate) fn run_with_lines(command: &mut Command, mut read: impl FnMut(&str) + Send) -> Result<()> {
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let status = std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in lines.map_while(io::Result::ok) {
                println!("{line}");
                read(&line);
            }
        });
        wait(child, None)
    })?;
    expect_success(command, status)
}

/// Run `command` with both its outputs in the file `log`.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let child = spawn(command.stdout(file.try_clone()?).stderr(file))?;
    let status = wait(child, None)?;
    expect_success(command, status).with_context(|| end_of(log))
}

/// Whether `command` can be run and succeeds; what it prints is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let status = child.and_then(|child| wait(child, Some(Instant::now() + PATIENCE)));
    status.is_ok_and(|status| status.success())
}

/// Run `command` and return what it prints for programs; what it prints for people is shown.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{}`", line(command)))?;
    expect_success(command, output.status)?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Run `command` and return all that it printed, or nothing if it cannot be started.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Whether a program of this name is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Quote the last lines of a log, for an error message.
pub(crate) fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(15)..];
    let quoted: String = last.iter().map(|line| format!("\n  | {line}")).collect();
    format!("the end of {}:{quoted}\n", log.display())
}

/// Start `command` in a process group of its own.
///
/// A signal to xtask can then be passed to the child's children too: cargo alone would leave its
/// test programs behind.
fn spawn(command: &mut Command) -> Result<Child> {
    interrupt::check()?;
    command.stdin(Stdio::null()).process_group(0);
    command
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))
}

fn expect_success(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Wait for the end of the child; end it at a signal or at the deadline.
///
/// What it started and left behind ends too: it would hold our pipe open, or a port.
fn wait(mut child: Child, deadline: Option<Instant>) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
            // A signal to both of us may have ended the child first; then the signal is the reason.
            interrupt::check()?;
            return Ok(status);
        }
        if let Err(interrupted) = interrupt::check() {
            end_group(&mut child)?;
            return Err(interrupted.into());
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            end_group(&mut child)?;
            bail!("not done after {PATIENCE:?}");
        }
        interrupt::pause(Duration::from_millis(20));
    }
}

fn end_group(child: &mut Child) -> Result<()> {
    let group = Pid::from_child(child);
    let deadline = Instant::now() + GRACE;
    // Errors of `kill` are not reported here: the group is gone then, which is what is wanted.
    kill_process_group(group, Signal::TERM).ok();
    while child.try_wait()?.is_none() && Instant::now() < deadline {
        interrupt::pause(Duration::from_millis(20));
    }
    kill_process_group(group, Signal::KILL).ok();
    child.wait()?;
    Ok(())
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or_default()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.to_string().contains("sh -c exit 3"), "{error}");
    }

    #[test]
    fn lines_are_seen_as_they_come() {
        let mut seen = Vec::new();
        run_with_lines(Command::new("sh").args(["-c", "echo a; echo b"]), |line| {
            seen.push(line.to_owned())
        })
        .unwrap();
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn what_a_command_leaves_behind_ends_with_it() {
        let start = Instant::now();
        run_with_lines(Command::new("sh").args(["-c", "sleep 60 & echo started"]), |_| ()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_does_not_succeed() {
        assert!(succeeds(&mut Command::new("true")));
        assert!(!succeeds(&mut Command::new("false")));
        assert!(!succeeds(&mut Command::new("no-such-program")));
    }

    #[test]
    fn what_is_not_on_the_path_is_not_installed() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }
}
