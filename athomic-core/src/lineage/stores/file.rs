//! Lineage events in a file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LineageStore, LineageStoreError, line};
use crate::lineage::LineageEvent;

/// Appends each event to a file, as one line of JSON, and has the disk keep it.
#[derive(Debug, Clone)]
pub struct JsonFileStore {
    path: PathBuf,
}

impl JsonFileStore {
    /// Append to this file; it is made if it is not there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl LineageStore for JsonFileStore {
    fn name(&self) -> &str {
        "json_file"
    }

    async fn write(&self, events: &[Arc<LineageEvent>]) -> Result<(), LineageStoreError> {
        let mut lines = String::new();
        for event in events {
            lines.push_str(&line(event));
            lines.push('\n');
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, lines.as_bytes())).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LineageStoreError::retriable(
                0,
                format!("{}: {error}", self.path.display()),
            )),
            Err(cancelled) => Err(LineageStoreError::retriable(0, cancelled)),
        }
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(lines)?;
    file.sync_data()
}
