//! `bench`: one program of `benches/`, with the servers that it needs.

use anyhow::Result;

use crate::process;
use crate::services::Services;
use crate::workspace::cargo;

/// The benches that need no server.
const WITHOUT_SERVERS: [&str; 1] = ["payload"];

/// Build the bench, start servers unless it needs none or `KAFKA_BOOTSTRAP` names some, and run it.
///
/// The servers start after the build, so that both do not share the processor.
pub(crate) fn bench(name: &str, arguments: &[String]) -> Result<()> {
    let bench = ["--release", "--package", "athomic-bench", "--bin", name];
    process::run(cargo().arg("build").args(bench))?;
    let needs_servers = !WITHOUT_SERVERS.contains(&name);
    let services = if needs_servers && std::env::var_os("KAFKA_BOOTSTRAP").is_none() {
        Some(Services::start()?)
    } else {
        None
    };
    let environment = services.iter().flat_map(Services::environment);
    let mut run = cargo();
    run.args(["run", "--quiet"]).args(bench).arg("--").args(arguments);
    process::run(run.envs(environment.map(|(name, value)| (name, value))))
}
