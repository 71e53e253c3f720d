//! Child processes: run to their end, with signals passed on.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Run `command` to its end and fail unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Run `command` to its end.
///
/// The child gets a process group of its own: a signal to xtask then reaches the child's children
/// too (cargo alone would leave its test programs behind).
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    interrupt::check()?;
    let child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    wait(child)
}

/// Run `command` with both its outputs in the file `log`.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let result = run(command.stdout(file.try_clone()?).stderr(file));
    result.with_context(|| format!("{}{}", tail(log), log.display()))
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

/// Return the last lines of a log, each on a line of its own, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(15)..];
    last.iter().map(|line| format!("  | {line}\n")).collect()
}

fn wait(mut child: Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            // A signal to both of us may have ended the child first; then the signal is the reason.
            interrupt::check()?;
            return Ok(status);
        }
        if let Err(interrupted) = interrupt::check() {
            end_group(&mut child)?;
            return Err(interrupted.into());
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
    let words = std::iter::once(command.get_program()).chain(command.get_args());
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
    fn what_is_not_on_the_path_is_not_installed() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }
}
