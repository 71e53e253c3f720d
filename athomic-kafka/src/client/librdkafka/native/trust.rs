//! Why a broker's certificate is refused: librdkafka only says that it is.
//!
//! Asked when a refusal is to be explained, over a connection of its own that ends with the answer. What
//! consumes and publishes has nothing of this: there OpenSSL decides, without a callback.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;

/// Why a certificate is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Distrust {
    UnknownAuthority,
    Expired,
    NotYetValid,
    OtherHost,
    /// Another of OpenSSL's reasons.
    Other,
}

impl Distrust {
    /// Read OpenSSL's number; see `X509_STORE_CTX_get_error(3)`.
    fn of(number: c_int) -> Self {
        match number {
            2 | 18..=21 => Self::UnknownAuthority,
            9 => Self::NotYetValid,
            10 => Self::Expired,
            62 | 64 => Self::OtherHost,
            _ => Self::Other,
        }
    }
}

/// What the callback has seen, and who waits for it.
#[derive(Default)]
struct Verdict {
    number: Mutex<Option<c_int>>,
    given: Condvar,
}

/// Connect as a client with these options does, and return why the broker's certificate is refused. Blocks,
/// at most so long.
pub(in super::super) fn why_refused(
    options: &BTreeMap<String, String>,
    patience: Duration,
) -> Option<Distrust> {
    let mut config: ClientConfig = options
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // The refusal itself has been logged.
    config.set("log_level", "0");
    let native = config.create_native_config().ok()?;
    let verdict = Arc::<Verdict>::default();
    let mut words = [0; 512];
    // SAFETY: `native` is a valid configuration; the callback is a plain function that lives for ever, and
    // what its argument points to lives until the handle is freed below; `words` is a buffer of the length
    // given. On success the client owns the configuration, so it is forgotten; on failure it stays ours.
    let handle = unsafe {
        sys::rd_kafka_conf_set_opaque(native.ptr(), Arc::as_ptr(&verdict).cast_mut().cast());
        sys::rd_kafka_conf_set_ssl_cert_verify_cb(native.ptr(), Some(verify));
        sys::rd_kafka_new(
            sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            native.ptr(),
            words.as_mut_ptr(),
            words.len(),
        )
    };
    let handle = NonNull::new(handle)?;
    std::mem::forget(native);
    let number = verdict.number.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = verdict
        .given
        .wait_timeout_while(number, patience, |number| number.is_none());
    let number = *waited.unwrap_or_else(PoisonError::into_inner).0;
    // SAFETY: the handle is valid and used no more; this waits for its threads, and so for the callback.
    unsafe { sys::rd_kafka_destroy(handle.as_ptr()) };
    number.map(Distrust::of)
}

/// Called by librdkafka for each certificate of a broker, with what OpenSSL thinks of it.
unsafe extern "C" fn verify(
    _client: *mut sys::rd_kafka_t,
    _broker: *const c_char,
    _id: i32,
    error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _length: usize,
    _words: *mut c_char,
    _room: usize,
    verdict: *mut c_void,
) -> c_int {
    // SAFETY: `error` may be read; `verdict` is what the client was made with, and outlives it.
    let (number, verdict) = unsafe { (*error, &*verdict.cast_const().cast::<Verdict>()) };
    if number == 0 {
        return 1;
    }
    *verdict.number.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    verdict.given.notify_all();
    0
}
