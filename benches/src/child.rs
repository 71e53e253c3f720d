//! Cases and probes run in processes of their own, so that processor time, memory, threads and
//! connections are their own too.

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;

/// Return the arguments that tell a child where to consume.
#[must_use]
pub fn at(bootstrap: &str, group: &str) -> [String; 4] {
    ["--bootstrap", bootstrap, "--group", group].map(str::to_owned)
}

/// Return a group that nobody has used.
///
/// # Errors
/// The clock stands before 1970.
pub fn new_group(name: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(format!("athomic-bench-{name}-{now}"))
}

/// Run this program again with other arguments, and return what it reports.
///
/// # Errors
/// It fails, or reports something else.
pub fn run<T: DeserializeOwned>(name: &str, arguments: &[String]) -> Result<T> {
    let mut child = Command::new(std::env::current_exe()?);
    let output = child.args(arguments).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "`{name}` failed: {}", output.status);
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{name}` did not report what was measured"))
}
