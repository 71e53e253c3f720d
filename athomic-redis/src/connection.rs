//! One connection, or one to each node of a cluster, that all calls share.
//!
//! The client sends each command once: what becomes of one that was under way when its connection broke is
//! unknown, and only the caller may ask again. What a node of a cluster refuses, because another has the
//! slot, was not done, and is sent there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike as _, ClusterInterface as _};
use fred::types::config::{
    ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, Server, UnresponsiveConfig,
};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, Value};
use tokio::sync::Mutex;

use crate::call::Written;
use crate::error::{is_demoted, is_no_script};
use crate::settings::Target;

/// After so long without an answer the outcome is unknown. Well below the life of a session.
const ANSWER: Duration = Duration::from_secs(3);
/// For how long replicas may be behind before a call says so.
const REPLICAS: Duration = Duration::from_secs(1);

/// What a park waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) replicas: u32,
    pub(crate) fsync: bool,
}

/// How often a command follows a slot that moves.
const REDIRECTIONS: u32 = 5;

/// A connection that is made when it is wanted first, and again when its client gave up.
pub(crate) struct Link {
    /// Whether commands may follow a slot that moves.
    redirects: bool,
    current: RwLock<Option<Arc<Connection>>>,
    /// Only one makes it.
    making: Mutex<()>,
}

impl Link {
    pub(crate) fn new(redirects: bool) -> Self {
        Self {
            redirects,
            current: RwLock::default(),
            making: Mutex::default(),
        }
    }

    /// Return the connection.
    pub(crate) async fn get(&self, target: &Target) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let _making = self.making.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::open(target, self.redirects).await?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn current(&self) -> Option<Arc<Connection>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .clone()
            .filter(|connection| !connection.task.is_finished())
    }
}

/// A connection. Ends when it is dropped.
pub(crate) struct Connection {
    client: Client,
    /// How commands are sent.
    options: Options,
    is_cluster: bool,
    task: ConnectHandle,
    /// Whether another master is being looked for.
    looks: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Connect. From then on a lost connection is made anew until the end.
    pub(crate) async fn open(target: &Target, redirects: bool) -> Result<Self, Error> {
        let is_cluster = target.is_cluster();
        let redirections = if redirects && is_cluster { REDIRECTIONS } else { 0 };
        // To follow a slot counts as an attempt, and so does to ask for that.
        let attempts = 1 + 2 * redirections;
        let performance = PerformanceConfig {
            default_command_timeout: ANSWER,
            ..PerformanceConfig::default()
        };
        let connection = ConnectionConfig {
            connection_timeout: ANSWER,
            internal_command_timeout: ANSWER,
            max_command_attempts: attempts,
            max_redirections: redirections,
            // Whether all slots are served is checked at the start, and told by answers later on.
            disable_cluster_health_check: true,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(2 * ANSWER),
                interval: ANSWER / 3,
            },
            ..ConnectionConfig::default()
        };
        let policy = ReconnectPolicy::new_exponential(0, 50, 2_000, 2);
        let client = Client::new(
            target.config.clone(),
            Some(performance),
            Some(connection),
            Some(policy),
        );
        let task = client.init().await?;
        Ok(Self {
            client,
            options: Options {
                // Whatever attempts are left: what was under way when a connection broke ends with it.
                fail_fast: true,
                ..Options::default()
            },
            is_cluster,
            task,
            looks: Arc::default(),
        })
    }

    /// Return the slot of a script's first key.
    fn slot(&self, arguments: &[Value]) -> ClusterHash {
        // The client takes nothing else for commands that it does not know, and hashes their first argument.
        let key = arguments.get(2).filter(|_| self.is_cluster);
        let key = key.and_then(Value::as_bytes).unwrap_or_default();
        ClusterHash::Custom(fred::util::redis_keyslot(key))
    }

    /// Run a script. Where it is not known it is sent in full; nothing was done then.
    pub(crate) async fn run(&self, call: &Written) -> Result<Value, Error> {
        match self.script("EVALSHA", call.by_hash()).await {
            Err(error) if is_no_script(&error) => self.script("EVAL", call.by_text()).await,
            result => result,
        }
    }

    /// Run a script, and return how many copies there are of what it wrote.
    ///
    /// Both commands are written in one go: over another connection the second would wait for nothing.
    pub(crate) async fn run_and_wait(
        &self,
        call: &Written,
        copies: Copies,
    ) -> Result<(Value, Vec<u32>), Error> {
        match self.run_both("EVALSHA", call.by_hash(), copies).await {
            Err(error) if is_no_script(&error) => self.run_both("EVAL", call.by_text(), copies).await,
            result => result,
        }
    }

    async fn run_both(
        &self,
        name: &'static str,
        arguments: Vec<Value>,
        copies: Copies,
    ) -> Result<(Value, Vec<u32>), Error> {
        let slot = self.slot(&arguments);
        let limit = REPLICAS.as_millis().to_string();
        let (wait, wanted) = match copies {
            Copies {
                replicas,
                fsync: false,
            } => ("WAIT", vec![replicas.to_string(), limit]),
            Copies {
                replicas,
                fsync: true,
            } => ("WAITAOF", vec!["1".into(), replicas.to_string(), limit]),
        };
        let pipeline = self.client.pipeline();
        let () = pipeline
            .custom(CustomCommand::new_static(name, slot.clone(), false), arguments)
            .await?;
        let () = pipeline
            .custom(CustomCommand::new_static(wait, slot, false), wanted)
            .await?;
        let mut results = pipeline.try_all::<Value>().await.into_iter();
        // One that fails without the other failed for both.
        let value = self.answer(results.next().unwrap_or_else(|| Err(cut())))?;
        let copies = results.next().unwrap_or_else(|| Err(cut()))?;
        let copies = copies.into_array().into_iter();
        let count = |value: Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
        Ok((value, copies.filter_map(count).collect()))
    }

    async fn script(&self, name: &'static str, arguments: Vec<Value>) -> Result<Value, Error> {
        let command = CustomCommand::new_static(name, self.slot(&arguments), false);
        let client = self.client.with_options(&self.options);
        let result = client.custom(command, arguments).await;
        self.answer(result)
    }

    /// Run a command whose first argument is its key.
    pub(crate) async fn on_key(&self, name: &'static str, arguments: &[&str]) -> Result<Value, Error> {
        let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
        let client = self.client.with_options(&self.options);
        let result = client.custom(command, arguments.to_vec()).await;
        self.answer(result)
    }

    /// Run a command on a node, or on the server.
    pub(crate) async fn on_node(
        &self,
        node: Option<&Server>,
        name: &'static str,
        arguments: &[&str],
    ) -> Result<Value, Error> {
        let command = CustomCommand::new_static(name, ClusterHash::Random, false);
        match node {
            Some(node) => {
                let client = self.client.with_cluster_node(node.clone());
                client.custom(command, arguments.to_vec()).await
            }
            None => self.client.custom(command, arguments.to_vec()).await,
        }
    }

    /// Return the masters of a cluster; nothing where there is none.
    pub(crate) fn nodes(&self) -> Vec<Server> {
        let state = self.client.cached_cluster_state();
        state.map_or_else(Vec::new, |state| state.unique_primary_nodes())
    }

    /// Look at an answer: one of a server that is no master any more has the master looked for.
    fn answer(&self, result: Result<Value, Error>) -> Result<Value, Error> {
        if let Err(error) = &result
            && is_demoted(error)
            && !self.looks.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                reason = error.details(),
                "the store is no master any more; looking for the new one"
            );
            let (client, looks) = (self.client.clone(), Arc::clone(&self.looks));
            tokio::spawn(async move {
                if let Err(error) = client.force_reconnection().await {
                    tracing::warn!(%error, "cannot connect to the store anew");
                }
                looks.store(false, Ordering::Relaxed);
            });
        }
        result
    }
}

fn cut() -> Error {
    Error::new(fred::error::ErrorKind::IO, "an answer is missing")
}
