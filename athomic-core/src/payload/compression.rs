//! The step `compression`: payloads made smaller by zstd, LZ4, gzip or Snappy.
//!
//! What is written is the plain format of each, as other programs read it. Decoding goes by the magic bytes at the
//! beginning, whatever the settings say now: so the backend can be changed while messages of the old one are in the
//! topic, and payloads that nobody compressed pass as they are. A payload that begins like one of these formats by
//! chance is compressed however small it is.
//!
//! What comes out is bounded while it comes out, by size and by ratio: a few bytes can claim to be gigabytes.

use std::borrow::Cow;
use std::io::{self, Read};

use super::build::StepOptions;
use super::step::{PayloadContext, PayloadStep, Step, StepError};

/// The name of the step in the settings.
pub(super) const NAME: &str = "compression";

/// Payloads below this size are not compressed, unless the settings say so.
const MIN_BYTES: u64 = 1024;

/// The window of zstd as a power of two, which is the memory that reading takes: 8 MiB.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW: u32 = 23;

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Zstd,
    Lz4,
    Gzip,
    Snappy,
}

impl Backend {
    pub(super) const ALL: [Self; 4] = [Self::Zstd, Self::Lz4, Self::Gzip, Self::Snappy];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        }
    }

    const fn is_built_in(self) -> bool {
        match self {
            Self::Zstd => cfg!(feature = "zstd"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
        }
    }

    /// Return what its output begins with.
    pub(super) const fn magic(self) -> &'static [u8] {
        match self {
            Self::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            Self::Lz4 => &[0x04, 0x22, 0x4d, 0x18],
            Self::Gzip => &[0x1f, 0x8b],
            Self::Snappy => b"\xff\x06\x00\x00sNaPpY",
        }
    }

    /// Return the format that bytes begin like.
    fn of(bytes: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|backend| bytes.starts_with(backend.magic()))
    }

    /// Return the levels that it knows and the usual one; nothing if it has none.
    const fn levels(self) -> Option<(u64, u64, u64)> {
        match self {
            Self::Zstd => Some((1, 19, 3)),
            Self::Gzip => Some((1, 9, 6)),
            Self::Lz4 | Self::Snappy => None,
        }
    }

    /// Make bytes smaller.
    pub(super) fn compress(self, payload: &[u8], level: u32) -> io::Result<Vec<u8>> {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::compress(payload, level.try_into().unwrap_or(i32::MAX)),
            #[cfg(feature = "lz4")]
            Self::Lz4 => {
                use std::io::Write;
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::with_capacity(payload.len() / 2));
                encoder.write_all(payload)?;
                Ok(encoder.finish()?)
            }
            #[cfg(feature = "gzip")]
            Self::Gzip => {
                use std::io::Write;
                let out = Vec::with_capacity(payload.len() / 2);
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
                encoder.write_all(payload)?;
                encoder.finish()
            }
            #[cfg(feature = "snappy")]
            Self::Snappy => {
                use std::io::Write;
                let mut encoder = snap::write::FrameEncoder::new(Vec::with_capacity(payload.len() / 2));
                encoder.write_all(payload)?;
                encoder.into_inner().map_err(|error| error.into_error())
            }
            #[cfg(not(all(feature = "zstd", feature = "lz4", feature = "gzip", feature = "snappy")))]
            _ => {
                let _unused_without_features = (payload, level);
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    /// Begin to read what `compress` has made.
    fn reader(self, payload: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Ok(Box::new(decoder))
            }
            #[cfg(feature = "lz4")]
            Self::Lz4 => Ok(Box::new(lz4_flex::frame::FrameDecoder::new(payload))),
            #[cfg(feature = "gzip")]
            Self::Gzip => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(payload))),
            #[cfg(feature = "snappy")]
            Self::Snappy => Ok(Box::new(snap::read::FrameDecoder::new(payload))),
            #[cfg(not(all(feature = "zstd", feature = "lz4", feature = "gzip", feature = "snappy")))]
            _ => {
                let _unused_without_features = payload;
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    /// Read what `compress` has made, and no more than so many bytes of it.
    fn decompress(self, payload: &[u8], limit: usize) -> Result<Vec<u8>, StepError> {
        if !self.is_built_in() {
            let what = format!(
                "it is compressed with {0}, and this program was built without the feature `{0}`",
                self.as_str()
            );
            return Err(StepError::malformed(what));
        }
        let broken = |error: io::Error| {
            StepError::malformed(format!("it is no whole {} data: {error}", self.as_str()))
        };
        // What the bytes claim of their size counts for nothing: room is made as they come.
        let mut out = Vec::with_capacity(payload.len().saturating_mul(4).min(limit));
        let reader = self.reader(payload).map_err(broken)?;
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        reader.take(most).read_to_end(&mut out).map_err(broken)?;
        if out.len() > limit {
            return Err(StepError::TooLarge { limit });
        }
        if self == Self::Lz4 && !ends_like_lz4(payload) {
            return Err(StepError::malformed("it is no whole lz4 data: it does not end"));
        }
        Ok(out)
    }
}

/// Say whether an LZ4 frame has its end mark. The reader takes the end of the bytes for the end of the frame, so
/// that one which was cut between two blocks would be read as a shorter one.
fn ends_like_lz4(frame: &[u8]) -> bool {
    /// In the flags: the end mark is followed by a checksum of the contents.
    const CONTENT_CHECKSUM: u8 = 0b100;
    let (flags, checksum) = (frame.get(4).copied().unwrap_or_default(), 4);
    let after = if flags & CONTENT_CHECKSUM == 0 {
        0
    } else {
        checksum
    };
    let end = frame.len().saturating_sub(after);
    frame[..end].ends_with(&[0; 4])
}

#[derive(Debug)]
struct Compression {
    backend: Backend,
    level: u32,
    min_bytes: usize,
}

/// Make the step of its settings: `backend`, `level`, `min_bytes`.
pub(super) fn step(options: &mut StepOptions<'_>) -> Option<Step> {
    let word = options.text("backend").unwrap_or(Backend::Zstd.as_str());
    let Some(backend) = Backend::ALL.into_iter().find(|backend| backend.as_str() == word) else {
        options.refuse_word("backend", word, Backend::ALL.map(Backend::as_str).to_vec());
        return None;
    };
    if !backend.is_built_in() {
        let reason = format!(
            "this program was built without `{word}`; add the feature: `cargo add athomic --features {word}`"
        );
        options.refuse("backend", reason);
    }
    let level = match backend.levels() {
        Some((least, most, usual)) => options.number("level", least..=most, usual),
        None if options.text("level").is_some() => {
            options.refuse("level", format!("`{word}` has no levels; remove it"));
            0
        }
        None => 0,
    };
    let min_bytes = options.number("min_bytes", 0..=u64::from(u32::MAX), MIN_BYTES);
    Some(Step::immediate(Compression {
        backend,
        level: u32::try_from(level).unwrap_or_default(),
        min_bytes: usize::try_from(min_bytes).unwrap_or(usize::MAX),
    }))
}

impl PayloadStep for Compression {
    fn label(&self) -> Cow<'_, str> {
        self.backend.as_str().into()
    }

    fn encode(&self, payload: Vec<u8>, _: &PayloadContext<'_>) -> Result<Vec<u8>, StepError> {
        let must_be = Backend::of(&payload).is_some();
        if payload.len() < self.min_bytes && !must_be {
            return Ok(payload);
        }
        let compressed = self.backend.compress(&payload, self.level);
        let compressed =
            compressed.map_err(|error| StepError::malformed(format!("it cannot be compressed: {error}")))?;
        // What does not become smaller is not worth the reading.
        Ok(if compressed.len() < payload.len() || must_be {
            compressed
        } else {
            payload
        })
    }

    fn decode<'p>(
        &self,
        payload: Cow<'p, [u8]>,
        context: &PayloadContext<'_>,
    ) -> Result<Cow<'p, [u8]>, StepError> {
        match Backend::of(&payload) {
            Some(backend) => {
                let limit = context.limits.output_of(payload.len());
                backend.decompress(&payload, limit).map(Cow::Owned)
            }
            None => Ok(payload),
        }
    }
}

#[cfg(test)]
mod tests;
