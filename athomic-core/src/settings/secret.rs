//! A text that is used but never shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// What is shown in the place of a secret.
pub(super) const MASK: &str = "***";

/// A password, key or token.
///
/// `Debug`, `Display` and `Serialize` all give `***`, so that a secret cannot reach a log, an error or a
/// web page by accident; the only way to the text is [`expose`](Secret::expose). The memory is
/// overwritten when the secret is dropped. That is best effort: the settings file it came from has been
/// in memory too.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    /// Where it was read, and may have been replaced since.
    file: Option<Arc<PathBuf>>,
}

impl Secret {
    /// Wrap `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            file: None,
        }
    }

    /// Read a secret from a file, without the end of its last line.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub fn in_file(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let text = Zeroizing::new(fs::read_to_string(&path)?);
        Ok(Self {
            text: Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()),
            file: Some(Arc::new(path)),
        })
    }

    /// Return the file that it was read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref().map(PathBuf::as_path)
    }

    /// Return the secret as its file has it now; nothing if there is no file, or nothing in it.
    #[must_use]
    pub fn read_again(&self) -> Option<Self> {
        let read = self.file().and_then(|path| Self::in_file(path).ok());
        read.filter(|secret| !secret.text.is_empty())
    }

    /// Return the text itself, for the one place that hands it to a client library.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// Wherever they come from.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_replaced_in_its_file_is_read_again() {
        let file = std::env::temp_dir().join(format!("athomic-secret-{}", std::process::id()));
        fs::write(&file, "old\n").unwrap();
        let secret = Secret::in_file(&file).unwrap();
        assert_eq!(secret.expose(), "old");
        fs::write(&file, "new\r\n").unwrap();
        assert_eq!(secret.read_again(), Some(Secret::new("new")));
        for between_two in ["", "\n"] {
            fs::write(&file, between_two).unwrap();
            assert_eq!(secret.read_again(), None);
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(secret.read_again(), None);
        assert_eq!(Secret::new("text").read_again(), None);
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn a_secret_is_masked_in_every_form_and_exposed_on_request() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret:?} {secret:#?} {secret}"), "*** *** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "canary");
    }
}
