//! A text that is used but never shown.

use std::fmt;

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
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wrap `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Return the text itself, for the one place that hands it to a client library.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

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
    fn a_secret_is_masked_in_every_form_and_exposed_on_request() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret:?} {secret:#?} {secret}"), "*** *** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "canary");
    }
}
