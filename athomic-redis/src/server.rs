//! `Server`: a connection and the clock that scripts go by, as the smaller stores use them.

use std::sync::Arc;

use athomic_core::ordering::Durability;
use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeyValueSettings, StoreError};
use fred::error::Error;

use crate::call::{Call, Script, Written};
use crate::connection::{Connection, Link};
use crate::error::{classify, malformed};
use crate::fitness::{Eviction, Fitness};
use crate::reply::{Reply, Unreadable};
use crate::settings::Target;

/// A server, Sentinel or a cluster. Connects when it is opened, or called first.
pub(crate) struct Server {
    pub(crate) target: Target,
    /// What tests drive in place of Redis' own clock.
    pub(crate) clock: Option<StoreClock>,
    connection: Link,
}

impl Server {
    pub(crate) fn new(settings: &KeyValueSettings) -> Result<Self, StoreError> {
        Ok(Self {
            target: Target::new(settings)?,
            clock: None,
            connection: Link::new(true),
        })
    }

    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        self.connection.get(&self.target).await
    }

    /// Connect, and look whether the server keeps what is given to it.
    pub(crate) async fn open(&self, eviction: Eviction) -> Result<(), StoreError> {
        let connection = self.connection().await.map_err(|error| self.failed(error))?;
        self.fitness(&connection, eviction).check().await
    }

    /// Warn if the server forgets what is given to it when it restarts.
    pub(crate) async fn check_persistence(&self) -> Result<(), StoreError> {
        let connection = self.connection().await.map_err(|error| self.failed(error))?;
        self.fitness(&connection, Eviction::Refused)
            .check_persistence()
            .await
    }

    fn fitness<'a>(&'a self, connection: &'a Connection, eviction: Eviction) -> Fitness<'a> {
        Fitness {
            store: &self.target.name,
            connection,
            is_cluster: self.target.is_cluster(),
            durability: Durability::Kafka,
            eviction,
        }
    }

    /// Begin a call: its first argument is the time, where that is not Redis' own.
    pub(crate) fn begin(&self, script: &'static Script) -> Call {
        let mut call = Call::new(script);
        match &self.clock {
            Some(clock) => call.number(clock.micros()),
            None => call.text(""),
        };
        call
    }

    pub(crate) async fn run(&self, call: &Written) -> Result<Reply, Error> {
        let value = self.connection().await?.run(call).await?;
        Ok(Reply::list_or_one(value))
    }

    pub(crate) fn failed(&self, error: Error) -> StoreError {
        classify(&self.target.name, error)
    }

    pub(crate) fn unreadable(&self, reason: &Unreadable) -> StoreError {
        malformed(&self.target.name, reason)
    }
}
