//! What the settings say about encrypted payloads.

use crate::settings::choice::choice;
use crate::settings::secret::Secret;

/// The keys of encrypted payloads, for the step `crypto`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CryptoSettings {
    /// How payloads are encrypted, unless a step says otherwise. Default [`CryptoAlgorithm::XChaCha20Poly1305`].
    pub algorithm: CryptoAlgorithm,
    /// The id of the key to encrypt with.
    pub active_key: Option<String>,
    /// All keys. Empty while no pipeline encrypts and their secrets are kept elsewhere.
    pub keys: Vec<KeySettings>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// Its name, which stands in each message.
    pub id: String,
    /// The key in hexadecimal digits, or what `wrap_key` made of it.
    pub secret: Secret,
    /// The key that it is wrapped by.
    pub wrapped_by: Option<String>,
}

choice! {
    /// How payloads are encrypted.
    #[derive(Default)]
    pub enum CryptoAlgorithm {
        /// XChaCha20-Poly1305: any number of messages a key.
        #[default]
        XChaCha20Poly1305 = "xchacha20poly1305",
        /// AES-256-GCM: fast where the processor has it; 2^32 messages a key.
        Aes256Gcm = "aes256gcm",
    }
    not built: []
}

impl CryptoAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::XChaCha20Poly1305, Self::Aes256Gcm];

    /// Return the algorithm that a word stands for.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word)
    }
}
