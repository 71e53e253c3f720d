//! A schema registry: payloads that name the schema by which they were written, as Confluent's serializers write them.
//! Feature `schema-registry`.
//!
//! [`wire`] finds the id in a message, [`client`] asks for it, [`cache`] keeps what was answered: of the messages of
//! one schema the first waits for the registry, all others find it without a wait. Messages that come meanwhile wait
//! for the same answer.
//!
//! | what comes of it | what follows |
//! |---|---|
//! | no server answers, or none lets us in | tried again until one does, however often; nothing is given up |
//! | the registry has no such schema, or it is none; the id is malformed | dead letter at once |
//! | the schema cannot be brought to the handler's type | dead letter at once, with what differs |

mod cache;
mod client;
mod error;
mod protobuf;
mod schema;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

pub use error::RegistryError;
pub(crate) use schema::WriterSchema;
pub(super) use wire::SchemaId;
use wire::{MessageIndexes, Wire};

use self::cache::Cache;
use self::client::Client;
use super::Format;
use crate::lifecycle::{Service, ServiceError, ServiceHandle};
use crate::message::RawMessage;
use crate::outcome::BoxError;
use crate::settings::SchemaRegistrySettings;

/// What is known of a schema.
type Found = Result<Arc<WriterSchema>, RegistryError>;

/// A question that is on its way, for all who wait for it.
type Asked = BoxFuture<'static, Found>;

/// The schemas of a registry, each asked for once.
pub(crate) struct SchemaRegistry {
    client: Client,
    cache: Cache,
    /// The questions that are on their way. Those that nobody waits for any more are gone.
    asked: Mutex<HashMap<SchemaId, WeakShared<Asked>>>,
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaRegistry").finish_non_exhaustive()
    }
}

/// A payload without what names its schema.
pub(super) struct Framed<'p> {
    pub(super) payload: &'p [u8],
    pub(super) schema: Named,
    indexes: Option<MessageIndexes>,
}

impl Framed<'_> {
    /// Check that a schema's message, of those that it may have, is the type that reads it.
    pub(super) fn check(&self, schema: &WriterSchema, target: &'static str) -> Result<(), RegistryError> {
        self.indexes
            .map_or(Ok(()), |indexes| schema.check_message(indexes, target))
    }
}

/// What a payload's schema is to who reads it.
pub(super) enum Named {
    /// It is not needed: JSON says itself what its fields are called.
    Unneeded,
    /// It was asked for before.
    Known(Found),
    /// It has to be asked for.
    Wanted(SchemaId),
}

impl SchemaRegistry {
    /// Make it of the settings; nothing is asked yet.
    pub(super) fn new(settings: &SchemaRegistrySettings) -> Result<Self, BoxError> {
        Ok(Self {
            client: Client::new(settings)?,
            cache: Cache::new(settings.cache_size),
            asked: Mutex::default(),
        })
    }

    /// Take from a payload what names its schema; `None` if nothing does, or the format has no schemas.
    pub(super) fn frame<'p>(
        &self,
        format: Format,
        message: &RawMessage,
        payload: &'p [u8],
    ) -> Result<Option<Framed<'p>>, RegistryError> {
        if !matches!(format, Format::Avro | Format::Protobuf | Format::Json) {
            return Ok(None);
        }
        let wire = wire::read(format, message, payload)?;
        Ok(wire.map(|Wire { id, indexes, payload }| Framed {
            payload,
            indexes,
            schema: match format {
                Format::Json => Named::Unneeded,
                _ => self.cache.get(id).map_or(Named::Wanted(id), Named::Known),
            },
        }))
    }

    /// Ask for a schema. All who ask meanwhile wait for one answer.
    ///
    /// Cancel safety: others go on waiting; if there are none, the question is dropped.
    pub(super) fn ask(self: &Arc<Self>, id: SchemaId) -> Shared<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = asked.get(&id).and_then(WeakShared::upgrade) {
            return question;
        }
        asked.retain(|_, question| question.upgrade().is_some());
        let registry = Arc::clone(self);
        let question = async move {
            // Somebody may have had the answer after we looked.
            if let Some(found) = registry.cache.get(id) {
                return found;
            }
            let found = registry.fetch(id).await;
            if let Err(error) = &found {
                tracing::warn!(%error, "a payload's schema is not to be had");
            }
            registry.cache.put(id, found.clone());
            found
        };
        let question = question.boxed().shared();
        asked.extend(question.downgrade().map(|question_of| (id, question_of)));
        question
    }

    async fn fetch(&self, id: SchemaId) -> Found {
        let told = self.client.schema(id).await?;
        let (references, subjects) =
            futures_util::future::join(self.client.references(id, &told), self.client.subjects(id)).await;
        WriterSchema::new(id, subjects, told, references?).map(Arc::new)
    }
}

/// Looks for the registry when the application starts. That it is not there stops nothing: messages wait for it.
#[derive(Debug)]
pub(crate) struct RegistryCheck(pub(crate) Arc<SchemaRegistry>);

impl Service for RegistryCheck {
    fn name(&self) -> &str {
        "schema-registry"
    }

    fn priority(&self) -> i32 {
        -1
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let registry = Arc::clone(&self.0);
        let stopping = handle.clone();
        handle.spawn(async move {
            tokio::select! {
                biased;
                () = stopping.stopping() => {}
                greeted = registry.client.greet() => {
                    if let Err(error) = greeted {
                        tracing::warn!(%error, "messages whose schemas are not known yet wait until it can");
                    }
                }
            }
            Ok(())
        });
        Ok(())
    }
}
