//! The programs that the servers need: looked for, named when missing, installed where we may.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Kafka 4 brokers run on this Java or later.
const JAVA: u32 = 17;

/// A program that is not there, and the Debian and Homebrew packages that bring it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing {
    what: &'static str,
    debian: &'static str,
    homebrew: &'static str,
}

const JAVA_PACKAGE: Missing = Missing {
    what: "Java 17 or later",
    debian: "default-jdk-headless",
    homebrew: "openjdk",
};
const MAVEN: Missing = Missing {
    what: "Maven (`mvn`)",
    debian: "maven",
    homebrew: "maven",
};
const REDIS: Missing = Missing {
    what: "`redis-server`",
    debian: "redis-server",
    homebrew: "redis",
};

/// Look what is missing. Maven is needed only while there are no jars.
fn missing(has_jars: bool) -> Vec<Missing> {
    let java = process::output(Command::new("java").arg("-version"));
    let mut missing = Vec::new();
    if java
        .as_deref()
        .and_then(java_version)
        .is_none_or(|version| version < JAVA)
    {
        missing.push(JAVA_PACKAGE);
    }
    if !has_jars && !process::is_installed("mvn") {
        missing.push(MAVEN);
    }
    if !process::is_installed("redis-server") {
        missing.push(REDIS);
    }
    missing
}

/// Install what is missing where that is allowed; else fail with the command to run.
pub(crate) fn provide(has_jars: bool) -> Result<()> {
    let missing = missing(has_jars);
    if missing.is_empty() {
        return Ok(());
    }
    if !(rustix::process::geteuid().is_root() && process::is_installed("apt-get")) {
        bail!("missing: {}; {}", names(&missing), advice(&missing));
    }
    install(&missing)?;
    // An old distribution may have installed an old Java.
    match self::missing(has_jars) {
        still if still.is_empty() => Ok(()),
        still => bail!(
            "missing, also after an installation with apt-get: {}",
            names(&still)
        ),
    }
}

fn install(missing: &[Missing]) -> Result<()> {
    eprintln!("missing: {}; installing with apt-get", names(missing));
    process::run(apt_get().arg("update"))?;
    let packages = missing.iter().map(|it| it.debian);
    process::run(
        apt_get()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("-qq")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr());
    command
}

fn advice(missing: &[Missing]) -> String {
    if process::is_installed("apt-get") {
        return format!(
            "run `sudo apt-get install {}`",
            list(missing, |it| it.debian, " ")
        );
    }
    if process::is_installed("brew") || Path::new("/opt/homebrew/bin/brew").exists() {
        return format!("run `brew install {}`", list(missing, |it| it.homebrew, " "));
    }
    "install it with the system's package manager, so that it is on the PATH".to_owned()
}

fn names(missing: &[Missing]) -> String {
    list(missing, |it| it.what, ", ")
}

fn list(missing: &[Missing], part: impl Fn(&Missing) -> &'static str, separator: &str) -> String {
    missing.iter().map(part).collect::<Vec<_>>().join(separator)
}

/// Read the major version out of what `java -version` prints.
fn java_version(printed: &str) -> Option<u32> {
    let quoted = printed.split('"').nth(1)?;
    let mut numbers = quoted.split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(), // "1.8.0_392" is Java 8
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_java_version_is_read_from_its_banner() {
        let check = |banner: &str, expected| assert_eq!(java_version(banner), expected, "{banner}");
        check(
            "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment",
            Some(17),
        );
        check("openjdk version \"25\" 2025-09-16", Some(25));
        check("openjdk version \"21-ea\"", Some(21));
        check("java version \"1.8.0_392\"", Some(8));
        check(
            "The operation couldn't be completed. Unable to locate a Java Runtime.",
            None,
        );
    }
}
