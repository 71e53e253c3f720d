//! The steps, each with settings that name it and with the same work by the bare library.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use athomic::settings::Settings;
use athomic_core::handler::MessageContext;
use athomic_core::message::{OwnedRecord, RawMessage, TopicPartition};
use athomic_core::payload::{Avro, AvroSchema, DecodeError, Encode, Format, Payload, Proto};
use athomic_core::testing::payload::PayloadRig;
use athomic_core::transport::OutgoingMessage;
use chacha20poly1305::aead::{AeadInOut, KeyInit as _, Nonce};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::compare::{Comparison, compare};
use super::order::Order;

const TOPIC: &str = "orders.v1";
const KEY: [u8; 32] = [7; 32];
const TAG: usize = 16;

/// A step, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What it is compared with.
    pub library: &'static str,
    work: Work,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Format(Format),
    Compression,
    XChaCha,
    AesGcm,
    ClaimMemory,
    ClaimLocal,
}

const fn case(name: &'static str, library: &'static str, work: Work) -> Case {
    Case { name, library, work }
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 14] = [
        case("json", "serde_json", Work::Format(Format::Json)),
        case("msgpack", "rmp-serde", Work::Format(Format::MessagePack)),
        case("cbor", "ciborium", Work::Format(Format::Cbor)),
        case("avro", "apache-avro", Work::Format(Format::Avro)),
        case("protobuf", "prost", Work::Format(Format::Protobuf)),
        case("raw", "a copy", Work::Format(Format::Raw)),
        case("zstd", "zstd", Work::Compression),
        case("lz4", "lz4_flex", Work::Compression),
        case("gzip", "flate2", Work::Compression),
        case("snappy", "snap", Work::Compression),
        case("xchacha20poly1305", "chacha20poly1305", Work::XChaCha),
        case("aes256gcm", "aes-gcm", Work::AesGcm),
        case("claim-memory", "object_store and sha2", Work::ClaimMemory),
        case("claim-local", "object_store and sha2", Work::ClaimLocal),
    ];

    /// Find a case by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|case| case.name == name);
        let known = Self::ALL.map(|case| case.name).join(", ");
        found.with_context(|| format!("there is no step `{name}`; there are {known}"))
    }

    /// Compare both directions with an order of about so many bytes: encoding, then decoding.
    ///
    /// # Errors
    /// A step or a library fails.
    pub async fn run(self, bytes: usize, rounds: usize) -> Result<[Comparison; 2]> {
        let order = Order::of_about(bytes);
        let folder = Folder::new(self.work == Work::ClaimLocal)?;
        let mut ours = Ours::new(&self.settings(&folder))?;
        if let Work::Format(format) = self.work {
            return format_of(format, order, &mut ours, rounds).await;
        }
        let payload = serde_json::to_vec(&order)?;
        match self.work {
            Work::XChaCha => {
                let cipher = chacha20poly1305::XChaCha20Poly1305::new(&KEY.into());
                step(&payload, &mut ours, rounds, Cipher(cipher)).await
            }
            Work::AesGcm => {
                let cipher = aes_gcm::Aes256Gcm::new(&KEY.into());
                step(&payload, &mut ours, rounds, Cipher(cipher)).await
            }
            Work::ClaimMemory => {
                let store = Arc::new(object_store::memory::InMemory::new());
                step(&payload, &mut ours, rounds, Claims(store)).await
            }
            Work::ClaimLocal => {
                let store = object_store::local::LocalFileSystem::new_with_prefix(&folder.0)?;
                step(
                    &payload,
                    &mut ours,
                    rounds,
                    Claims(Arc::new(store.with_fsync(true))),
                )
                .await
            }
            _ => step(&payload, &mut ours, rounds, Compressor(self.name)).await,
        }
    }

    fn settings(self, folder: &Folder) -> String {
        let step = |text: &str| {
            format!(
                "[[integration.messaging.payload.pipeline]]\nstep = 'serializer'\nsettings = {{ backend = 'raw' }}\n\
                 [[integration.messaging.payload.pipeline]]\n{text}\n"
            )
        };
        match self.work {
            Work::Format(format) => format!(
                "[[integration.messaging.payload.pipeline]]\nstep = 'serializer'\nsettings = {{ backend = '{format}' }}"
            ),
            Work::Compression => step(&format!(
                "step = 'compression'\nsettings = {{ backend = '{}', min_bytes = 1 }}",
                self.name
            )),
            Work::XChaCha | Work::AesGcm => {
                let key = KEY.map(|byte| format!("{byte:02x}")).concat();
                step(&format!(
                    "step = 'crypto'\nsettings = {{ algorithm = '{}' }}\n\
                     [security.crypto]\nactive_key = 'k'\nkeys = [{{ id = 'k', secret = '{key}' }}]",
                    self.name
                ))
            }
            Work::ClaimMemory => step("step = 'claim_check'\nsettings = { threshold_bytes = 1 }"),
            Work::ClaimLocal => step(&format!(
                "step = 'claim_check'\nsettings = {{ threshold_bytes = 1 }}\n\
                 [storage.provider]\nbackend = 'local'\nbase_path = '{}'",
                folder.0.display()
            )),
        }
    }
}

/// A folder for the objects of both sides, gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(is_needed: bool) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("athomic-bench-payload-{}", std::process::id()));
        if is_needed {
            std::fs::create_dir_all(&folder)?;
        }
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It may not be there; what is left of it in the folder for such files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// athomic's side: the pipeline of these settings, and the message that goes through it.
struct Ours {
    rig: PayloadRig,
    message: OutgoingMessage,
}

impl Ours {
    fn new(settings: &str) -> Result<Self> {
        let loaded = Settings::loader().text("bench", settings).load()?;
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            key: Some("order-0000004711".into()),
            ..Default::default()
        };
        Ok(Self {
            rig: PayloadRig::new(&loaded.settings)?,
            message,
        })
    }

    async fn encode<T: Encode + ?Sized>(&mut self, value: &T) -> Result<()> {
        let encoded = self.rig.encode(&mut self.message, value).await;
        encoded.map_err(|error| anyhow!(error))?;
        black_box(&self.message.payload);
        Ok(())
    }

    /// Return what stands in the record now, as it would be fetched.
    fn fetched(&self) -> RawMessage {
        let OutgoingMessage {
            key,
            payload,
            headers,
            ..
        } = self.message.clone();
        let record = OwnedRecord {
            offset: 0,
            key,
            payload,
            headers,
            timestamp: None,
        };
        RawMessage::from_record(TopicPartition::new(TOPIC, 0), record)
    }

    async fn decode<P: Payload>(&self, message: &RawMessage) -> Result<()> {
        black_box(self.rig.decode::<P>(message).await?);
        Ok(())
    }
}

/// Compare a format with its library.
async fn format_of(format: Format, order: Order, ours: &mut Ours, rounds: usize) -> Result<[Comparison; 2]> {
    match format {
        Format::Json => {
            let read = |bytes: &[u8]| Ok(serde_json::from_slice::<Order>(bytes)?);
            formats::<_, Order, _>(&order, ours, rounds, || Ok(serde_json::to_vec(&order)?), read).await
        }
        Format::MessagePack => {
            let read = |bytes: &[u8]| Ok(rmp_serde::from_slice::<Order>(bytes)?);
            formats::<_, Order, _>(
                &order,
                ours,
                rounds,
                || Ok(rmp_serde::to_vec_named(&order)?),
                read,
            )
            .await
        }
        Format::Cbor => {
            let write = || {
                let mut bytes = Vec::new();
                ciborium::into_writer(&order, &mut bytes)?;
                Ok(bytes)
            };
            let read = |bytes: &[u8]| Ok(ciborium::from_reader::<Order, _>(bytes)?);
            formats::<_, Order, _>(&order, ours, rounds, write, read).await
        }
        Format::Protobuf => {
            let read = |bytes: &[u8]| Ok(<Order as prost::Message>::decode(bytes)?);
            let value = Proto(order.clone());
            formats::<_, Proto<Order>, _>(&value, ours, rounds, || Ok(order.encode_to_vec()), read).await
        }
        Format::Avro => avro(order, ours, rounds).await,
        _ => {
            let text = serde_json::to_string(&order)?;
            let read = |bytes: &[u8]| Ok(String::from_utf8(bytes.to_vec())?);
            formats::<_, String, _>(&text, ours, rounds, || Ok(text.as_bytes().to_vec()), read).await
        }
    }
}

async fn avro(order: Order, ours: &mut Ours, rounds: usize) -> Result<[Comparison; 2]> {
    /// The mark of a single object, and the schema's fingerprint.
    const HEADER: usize = 10;
    let schema = Schema::parse_str(Order::SCHEMA)?;
    let writer = GenericDatumWriter::builder(&schema).build()?;
    let reader = GenericDatumReader::builder(&schema).build()?;
    let value = Avro(order.clone());
    ours.encode(&value).await?;
    let header = ours
        .message
        .payload
        .iter()
        .flatten()
        .copied()
        .take(HEADER)
        .collect::<Vec<_>>();
    let write = || {
        let mut bytes = header.clone();
        writer.write_ser(&mut bytes, &order)?;
        Ok(bytes)
    };
    let read = |bytes: &[u8]| Ok(reader.read_deser::<Order>(&mut &bytes[HEADER..])?);
    formats::<_, Avro<Order>, _>(&value, ours, rounds, write, read).await
}

/// Compare both directions of a format.
async fn formats<E: Encode, P: Payload, T>(
    value: &E,
    ours: &mut Ours,
    rounds: usize,
    write: impl Fn() -> Result<Vec<u8>>,
    read: impl Fn(&[u8]) -> Result<T>,
) -> Result<[Comparison; 2]> {
    let written = write()?;
    let bare = async || {
        black_box(write()?);
        Ok(())
    };
    let encoded = compare(written.len(), rounds, async || ours.encode(value).await, bare).await?;
    ensure!(
        ours.message.payload.as_deref() == Some(&written[..]),
        "both write the same"
    );
    let fetched = ours.fetched();
    let bare = async || {
        black_box(read(&written)?);
        Ok(())
    };
    let decoded = compare(
        written.len(),
        rounds,
        async || ours.decode::<P>(&fetched).await,
        bare,
    )
    .await?;
    Ok([encoded, decoded])
}

/// Bytes for a step, as a serializer leaves them.
struct Ready<'a>(&'a [u8]);

impl Encode for Ready<'_> {
    const WRITES: Option<Format> = None;

    fn encode(&self, _: Format) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.to_vec())
    }
}

/// What a step made of a payload, looked at where it is.
struct Seen;

impl Payload for Seen {
    type Target = Vec<u8>;

    fn decode(context: &MessageContext<'_>) -> Result<Self, DecodeError> {
        black_box(context.payload());
        Ok(Self)
    }
}

/// A step by the bare library.
trait Bare {
    async fn encode(&self, payload: Vec<u8>) -> Result<Vec<u8>>;
    async fn decode(&self, written: &[u8]) -> Result<Vec<u8>>;
}

/// Compare both directions of a step.
async fn step(payload: &[u8], ours: &mut Ours, rounds: usize, bare: impl Bare) -> Result<[Comparison; 2]> {
    let encode = async || {
        black_box(bare.encode(payload.to_vec()).await?);
        Ok(())
    };
    let encoded = compare(
        payload.len(),
        rounds,
        async || ours.encode(&Ready(payload)).await,
        encode,
    )
    .await?;
    let written = bare.encode(payload.to_vec()).await?;
    ensure!(
        bare.decode(&written).await? == payload,
        "what is written is read again"
    );
    let fetched = ours.fetched();
    ensure!(
        fetched.payload() != Some(payload),
        "the step has left the payload as it is"
    );
    let decode = async || {
        black_box(bare.decode(&written).await?);
        Ok(())
    };
    let decoded = compare(
        payload.len(),
        rounds,
        async || ours.decode::<Seen>(&fetched).await,
        decode,
    )
    .await?;
    Ok([encoded, decoded])
}

/// Compression by the library of this name.
struct Compressor(&'static str);

impl Bare for Compressor {
    async fn encode(&self, payload: Vec<u8>) -> Result<Vec<u8>> {
        Ok(match self.0 {
            "zstd" => zstd::bulk::compress(&payload, 3)?,
            "lz4" => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(&payload)?;
                encoder.finish()?
            }
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(&payload)?;
                encoder.finish()?
            }
            _ => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(&payload)?;
                encoder.into_inner().map_err(|error| anyhow!("{error}"))?
            }
        })
    }

    async fn decode(&self, written: &[u8]) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        match self.0 {
            "zstd" => payload = zstd::decode_all(written)?,
            "lz4" => drop(lz4_flex::frame::FrameDecoder::new(written).read_to_end(&mut payload)?),
            "gzip" => drop(flate2::read::GzDecoder::new(written).read_to_end(&mut payload)?),
            _ => drop(snap::read::FrameDecoder::new(written).read_to_end(&mut payload)?),
        }
        Ok(payload)
    }
}

/// Encryption in place: nonce, text, tag.
struct Cipher<C>(C);

impl<C: AeadInOut> Bare for Cipher<C> {
    async fn encode(&self, payload: Vec<u8>) -> Result<Vec<u8>> {
        let mut nonce = Nonce::<C>::default();
        getrandom::fill(&mut nonce)?;
        let mut frame = Vec::with_capacity(nonce.len() + payload.len() + TAG);
        frame.extend_from_slice(&nonce);
        frame.extend_from_slice(&payload);
        let text = &mut frame[nonce.len()..];
        let tag = self
            .0
            .encrypt_inout_detached(&nonce, TOPIC.as_bytes(), text.into());
        frame.extend_from_slice(&tag.map_err(|error| anyhow!("{error}"))?);
        Ok(frame)
    }

    async fn decode(&self, written: &[u8]) -> Result<Vec<u8>> {
        let (nonce, rest) = written.split_at(Nonce::<C>::default().len());
        let (text, tag) = rest.split_at(rest.len() - TAG);
        let (nonce, mut text) = (<&Nonce<C>>::try_from(nonce)?, text.to_vec());
        let tag = tag.try_into()?;
        let opened = self
            .0
            .decrypt_inout_detached(nonce, TOPIC.as_bytes(), text.as_mut_slice().into(), tag);
        opened.map_err(|error| anyhow!("{error}"))?;
        Ok(text)
    }
}

/// Objects with an id of their own each, and their digest in the record.
struct Claims(Arc<dyn ObjectStore>);

impl Claims {
    const ID: usize = 32;
}

impl Bare for Claims {
    async fn encode(&self, payload: Vec<u8>) -> Result<Vec<u8>> {
        let id = Uuid::now_v7().simple().to_string();
        let mut record = id.clone().into_bytes();
        record.extend_from_slice(&Sha256::digest(&payload));
        self.0
            .put(&Path::from(format!("bare/{id}")), payload.into())
            .await?;
        Ok(record)
    }

    async fn decode(&self, written: &[u8]) -> Result<Vec<u8>> {
        let (id, digest) = written.split_at(Self::ID);
        let place = Path::from(format!("bare/{}", std::str::from_utf8(id)?));
        let payload = self.0.get(&place).await?.bytes().await?;
        ensure!(
            Sha256::digest(&payload)[..] == *digest,
            "the object is the one that was put"
        );
        Ok(payload.into())
    }
}
