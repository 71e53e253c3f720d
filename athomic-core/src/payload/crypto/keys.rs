//! Keys: where they come from, and which is in use.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use aes_gcm::Aes256Gcm;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit};
use zeroize::Zeroizing;

use crate::hex::hex;
use crate::settings::{CryptoSettings, Fault, Origin, Problem, Secret, Settings};

/// How many random nonces of AES-GCM one key bears: beyond it a repetition, which tells the key's owner's secrets, is
/// no longer unlikely enough.
const NONCE_BUDGET: u64 = 1 << 32;

/// A key of 256 bits and its id. Never shown, and overwritten when it is dropped.
pub struct Key {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
    xchacha: OnceLock<XChaCha20Poly1305>,
    aes: OnceLock<Aes256Gcm>,
    /// How many random nonces of AES-GCM this process used with it.
    nonces: AtomicU64,
}

impl Key {
    /// Take a key. The id stands in each message for all to see.
    pub fn new(id: impl Into<String>, bytes: [u8; 32]) -> Self {
        Self {
            id: id.into(),
            bytes: Zeroizing::new(bytes),
            xchacha: OnceLock::new(),
            aes: OnceLock::new(),
            nonces: AtomicU64::new(0),
        }
    }

    /// Have it bear as many messages less.
    #[cfg(test)]
    pub(in crate::payload) fn used(self, nonces: u64) -> Self {
        self.nonces.store(nonces, Relaxed);
        self
    }

    /// Return the key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn xchacha(&self) -> &XChaCha20Poly1305 {
        self.xchacha
            .get_or_init(|| XChaCha20Poly1305::new((&*self.bytes).into()))
    }

    pub(super) fn aes(&self) -> &Aes256Gcm {
        self.aes.get_or_init(|| Aes256Gcm::new((&*self.bytes).into()))
    }

    /// Take note of a random nonce of AES-GCM; warn at a quarter of what the key bears, and at all of it.
    pub(super) fn count_random_nonce(&self) {
        let used = self.nonces.fetch_add(1, Relaxed) + 1;
        if used == NONCE_BUDGET / 4 || used.is_multiple_of(NONCE_BUDGET) {
            tracing::warn!(
                key = self.id,
                messages = used,
                budget = NONCE_BUDGET,
                "one process has encrypted so many messages with AES-GCM under one key; make a new key active, or take \
                 xchacha20poly1305, which bears any number"
            );
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// A key is not to be had now. It may be later: a message that needs it is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Nobody knows a key with this id.
    #[error("there is no key `{id}`; add it below `security.crypto.keys`")]
    NotFound {
        /// The id, as the message says.
        id: String,
    },
    /// There is no key to encrypt with.
    #[error("no key is active")]
    NoneActive,
    /// What keeps the keys cannot be asked.
    #[error("the keys cannot be reached")]
    Unavailable {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Where keys come from. The settings are one ([`KeyRing`]); implement it for a key service of your own and give it
/// to [`AppBuilder::key_provider`](crate::app::AppBuilder::key_provider).
///
/// # Contract
/// - Both calls come for each message, at once from all threads: they answer from memory. A service that keeps
///   keys wrapped fetches and unwraps them beside, and says [`KeyError::Unavailable`] until it has them.
/// - An id comes from a message that anybody may have written: it is no path and no address.
/// - A key that was active once can be had by its id for as long as messages under it are to be read.
pub trait KeyProvider: fmt::Debug + Send + Sync + 'static {
    /// Return the key to encrypt with.
    ///
    /// # Errors
    /// There is none now.
    fn active(&self) -> Result<Arc<Key>, KeyError>;

    /// Return the key with an id.
    ///
    /// # Errors
    /// There is none, or none now.
    fn by_id(&self, id: &str) -> Result<Arc<Key>, KeyError>;
}

/// Keys in memory, one of them active.
#[derive(Debug, Clone)]
pub struct KeyRing {
    active: Arc<Key>,
    keys: BTreeMap<String, Arc<Key>>,
}

impl KeyRing {
    /// Encrypt with this key.
    #[must_use]
    pub fn new(active: Key) -> Self {
        let active = Arc::new(active);
        Self {
            keys: BTreeMap::from([(active.id.clone(), Arc::clone(&active))]),
            active,
        }
    }

    /// Keep another key, for reading.
    #[must_use]
    pub fn with(mut self, key: Key) -> Self {
        self.keys.insert(key.id.clone(), Arc::new(key));
        self
    }

    /// Take the keys of the settings.
    ///
    /// # Errors
    /// All that is wrong with them; never a word of a key.
    pub(in super::super) fn of(settings: &Settings) -> Result<Self, Vec<Fault>> {
        let crypto = &settings.crypto;
        let fault = |key: String, reason: String| {
            let origin = settings.origin(&key).unwrap_or(Origin::BuiltIn);
            Fault::new(key, &origin, Problem::invalid(reason))
        };
        let (mut keys, mut faults) = (BTreeMap::new(), Vec::new());
        for (index, written) in crypto.keys.iter().enumerate() {
            match of_settings(crypto, &written.secret, written.wrapped_by.as_deref()) {
                Ok(bytes) => {
                    let key = Arc::new(Key::new(&written.id, *bytes));
                    if keys.insert(written.id.clone(), key).is_some() {
                        let reason = format!("`{}` is there twice", written.id);
                        faults.push(fault(format!("security.crypto.keys.{index}.id"), reason));
                    }
                }
                Err(reason) => faults.push(fault(format!("security.crypto.keys.{index}.secret"), reason)),
            }
        }
        let active = crypto.active_key.as_ref().and_then(|id| keys.get(id));
        match active {
            Some(active) if faults.is_empty() => Ok(Self {
                active: Arc::clone(active),
                keys,
            }),
            _ => {
                if active.is_none() && faults.is_empty() {
                    let known: Vec<_> = keys.keys().map(|id| format!("`{id}`")).collect();
                    let reason = format!(
                        "the step `crypto` encrypts with the key that this names, which is one of `security.crypto.keys`: {}",
                        if known.is_empty() {
                            "there are none".to_owned()
                        } else {
                            known.join(", ")
                        }
                    );
                    faults.push(fault("security.crypto.active_key".to_owned(), reason));
                }
                Err(faults)
            }
        }
    }
}

impl KeyProvider for KeyRing {
    fn active(&self) -> Result<Arc<Key>, KeyError> {
        Ok(Arc::clone(&self.active))
    }

    fn by_id(&self, id: &str) -> Result<Arc<Key>, KeyError> {
        let found = self.keys.get(id).cloned();
        found.ok_or_else(|| KeyError::NotFound { id: id.to_owned() })
    }
}

/// Read a key of the settings, and unwrap it if it is wrapped.
fn of_settings(
    crypto: &CryptoSettings,
    secret: &Secret,
    wrapped_by: Option<&str>,
) -> Result<Zeroizing<[u8; 32]>, String> {
    let Some(master) = wrapped_by else {
        let bytes = from_hex(secret)?;
        return key_of(&bytes);
    };
    let found = crypto.keys.iter().find(|key| key.id == master);
    let found = found.ok_or_else(|| format!("`wrapped_by` names `{master}`, which is none of the keys"))?;
    if found.wrapped_by.is_some() {
        return Err(format!("`wrapped_by` names `{master}`, which is wrapped itself"));
    }
    let master = key_of(&from_hex(&found.secret)?)?;
    let wrapped = from_hex(secret)?;
    let (nonce, text) = wrapped
        .split_at_checked(24)
        .ok_or("it is too short for a wrapped key")?;
    let cipher = XChaCha20Poly1305::new((&*master).into());
    let nonce = nonce.try_into().map_err(|_| "it has no nonce")?;
    let opened = cipher.decrypt(nonce, text).map(Zeroizing::new);
    key_of(&opened.map_err(|_| "it does not open with the key that `wrapped_by` names".to_owned())?)
}

/// Wrap a data key under a master key, as `security.crypto.keys` takes it with `wrapped_by`.
///
/// ```
/// use athomic_core::payload::crypto::wrap_key;
///
/// # fn main() -> Result<(), athomic_core::payload::StepError> {
/// let wrapped = wrap_key(&[1; 32], &[2; 32])?;
/// assert_eq!(wrapped.len(), 2 * (24 + 32 + 16));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The system has no random numbers now.
pub fn wrap_key(master: &[u8; 32], key: &[u8; 32]) -> Result<String, crate::payload::StepError> {
    let unavailable =
        |error| crate::payload::StepError::unavailable_because("the system has no random numbers", error);
    let mut nonce = [0; 24];
    getrandom::fill(&mut nonce).map_err(unavailable)?;
    let cipher = XChaCha20Poly1305::new(master.into());
    let text = cipher.encrypt((&nonce).into(), key.as_slice());
    let text = text.map_err(|_| crate::payload::StepError::malformed("it cannot be wrapped"))?;
    Ok(hex(&nonce) + &hex(&text))
}

fn key_of(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
    let key = bytes.try_into().map(Zeroizing::new);
    key.map_err(|_| {
        format!(
            "it has {} bytes and should have 32: 64 hexadecimal digits, as from `openssl rand -hex 32`",
            bytes.len()
        )
    })
}

fn from_hex(secret: &Secret) -> Result<Zeroizing<Vec<u8>>, String> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = secret.expose().trim().as_bytes().chunks(2).map(pair).collect();
    bytes
        .map(Zeroizing::new)
        .ok_or_else(|| "it is not hexadecimal; make one by `openssl rand -hex 32`".to_owned())
}
