//! The rules of reading, each stated by a test, and the agreement of table, reference file and types.

mod circuit_breaker;
mod context;
mod dead_letters;
mod environment;
mod faults;
mod idempotency;
mod inheritance;
mod layers;
mod lineage;
mod merging;
mod not_built;
mod observability;
mod ordering;
mod origins;
mod payload;
mod reference;
mod secrets;
mod values;

use std::fs;
use std::path::PathBuf;

use super::*;

const NO_VARIABLES: [(&str, &str); 0] = [];

fn loader(toml: &str) -> Loader {
    Settings::loader()
        .text("settings.toml", toml)
        .environment(NO_VARIABLES)
}

fn load(toml: &str) -> Settings {
    loaded(loader(toml)).settings
}

fn loaded(loader: Loader) -> Loaded {
    loader.load().unwrap_or_else(|error| panic!("{error}"))
}

fn with_variables(toml: &str, variables: &[(&str, &str)]) -> Loader {
    loader(toml).environment(variables.iter().copied())
}

fn faults(loader: Loader) -> Vec<String> {
    match loader.load() {
        Ok(loaded) => panic!("loaded: {:?}", loaded.settings),
        Err(error) => error.faults().iter().map(ToString::to_string).collect(),
    }
}

fn check_faults(toml: &str, expected: &[&str]) {
    assert_eq!(faults(loader(toml)), expected, "{toml}");
}

fn check_warnings(loader: Loader, expected: &[&str]) {
    let warnings: Vec<_> = loaded(loader).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, expected);
}

/// The fault for `line` in the consumer section.
fn check_consumer(line: &str, expected: &str) {
    let key = line.split(" = ").next().unwrap_or_default();
    let column = key.len() + 4;
    let expected = format!("settings.toml:2:{column}: `integration.messaging.consumer.{key}`: {expected}");
    check_faults(&format!("[integration.messaging.consumer]\n{line}"), &[&expected]);
}

/// A folder of its own for a test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("athomic-settings-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn loader(&self) -> Loader {
        Settings::loader().directory(&self.0).environment(NO_VARIABLES)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
