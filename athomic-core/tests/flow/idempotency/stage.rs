//! What the tests of idempotency share: messages with ids, and a store that fails as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use athomic_core::app::RunningApp;
use athomic_core::handler::IdempotencyOptions;
use athomic_core::handler::register::{HandlerDefinition, Subscribe};
use athomic_core::idempotency::IdempotencyCounts;
use athomic_core::message::{Headers, MESSAGE_ID, Offset, Partition};
use athomic_core::store::idempotency::{Acquisition, Each, Hold, IdempotencyKey, IdempotencyStore, Lock};
use athomic_core::store::memory::{MemoryIdempotency, MemoryStores};
use athomic_core::store::{IdempotencyBackend, IdempotencyStores, KeySpace, StoreError};
use athomic_core::transport::OutgoingMessage;

use crate::support::{Cluster, GROUP, Journal, TOPIC, handler};

/// The handler's id.
pub(crate) const ID: &str = "h";
pub(crate) const LOCK: Duration = Duration::from_secs(10);

/// A cluster and a store, and what handlers did.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) stores: MemoryStores,
    pub(crate) journal: Journal,
}

impl Stage {
    pub(crate) fn new(partitions: u32) -> Self {
        Self {
            cluster: Cluster::new(partitions),
            stores: MemoryStores::default(),
            journal: Journal::new(),
        }
    }

    /// Write a message with an id; its handler takes so many milliseconds.
    pub(crate) fn publish(&self, partition: Partition, id: &str, millis: u64) -> Offset {
        let message = OutgoingMessage {
            topic: TOPIC.into(),
            partition: Some(partition),
            key: Some(id.to_owned().into()),
            payload: Some(millis.to_string().into()),
            headers: Headers::new().with(MESSAGE_ID, id.to_owned()),
        };
        self.cluster.control.publish(message).unwrap().offset
    }

    /// Start an application of one handler.
    pub(crate) async fn start(&self, handler: HandlerDefinition) -> RunningApp {
        self.start_with("", handler).await
    }

    pub(crate) async fn start_with(&self, settings: &str, handler: HandlerDefinition) -> RunningApp {
        let app = self.cluster.app(settings).stores(self.stores.clone());
        app.register(handler).build().unwrap().start().await.unwrap()
    }

    /// The embedded store of the handler.
    pub(crate) fn marks(&self) -> MemoryIdempotency {
        self.stores.idempotency(&space())
    }

    /// Lock a message as a process does that dies then.
    pub(crate) async fn lock_as_the_dead(&self, id: &str) -> Lock {
        let lock = Lock::new(IdempotencyKey::new(&format!("id:{id}")));
        let answer = self.marks().acquire(std::slice::from_ref(&lock), LOCK).await;
        assert!(matches!(answer[..], [Ok(Acquisition::Acquired)]));
        lock
    }

    /// The handler that works as long as its messages say.
    pub(crate) fn worker(&self, instance: usize) -> HandlerDefinition {
        guarded().handler(self.journal.worker(instance))
    }
}

pub(crate) fn space() -> KeySpace {
    KeySpace::new("idempotency", &["idempotency", GROUP, ID])
}

/// Begin a handler with idempotency.
#[track_caller]
pub(crate) fn guarded() -> Subscribe {
    handler()
        .handler_id(ID)
        .idempotency(IdempotencyOptions::default())
}

pub(crate) fn counts(app: &RunningApp) -> IdempotencyCounts {
    app.idempotency().counts()[ID]
}

/// What a call of a store that fails does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing, and nobody is told.
    Dropped,
    /// What it should, and nobody is told.
    ReplyLost,
}

/// A store in memory that fails as it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faulty {
    pub(crate) inner: MemoryIdempotency,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    is_down: bool,
    is_unfit: bool,
    next: BTreeMap<&'static str, VecDeque<Fault>>,
    calls: BTreeMap<&'static str, usize>,
}

static STORES: Mutex<BTreeMap<String, Faulty>> = Mutex::new(BTreeMap::new());

inventory::submit! {
    IdempotencyBackend {
        name: "redis",
        connect: |settings| {
            let store = STORES.lock().unwrap()[settings.uri.expose()].clone();
            store.plan().calls.entry("connect").and_modify(|calls| *calls += 1).or_insert(1);
            Ok(IdempotencyStores::new(move |_| Arc::new(store.clone())))
        },
    }
}

impl Faulty {
    /// Make a store, and return the settings that name it.
    pub(crate) fn new(name: &str) -> (Self, String) {
        let store = Self::default();
        let uri = format!("redis://{name}");
        STORES.lock().unwrap().insert(uri.clone(), store.clone());
        let settings =
            format!("[resilience.idempotency.kvstore.provider]\nbackend = \"redis\"\nuri = \"{uri}\"\n");
        (store, settings)
    }

    /// Let the next calls of a kind fail.
    pub(crate) fn fail(&self, call: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.plan().next.entry(call).or_default().extend(faults);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.plan().is_down = is_down;
    }

    pub(crate) fn set_unfit(&self) {
        self.plan().is_unfit = true;
    }

    pub(crate) fn calls(&self, call: &'static str) -> usize {
        self.plan().calls.get(call).copied().unwrap_or_default()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, call: &'static str) -> Option<Fault> {
        let mut plan = self.plan();
        *plan.calls.entry(call).or_default() += 1;
        let planned = plan.next.get_mut(call).and_then(VecDeque::pop_front);
        if plan.is_down {
            Some(Fault::Dropped)
        } else {
            planned
        }
    }

    async fn call<T>(
        &self,
        call: &'static str,
        locks: &[Lock],
        inner: impl Future<Output = Each<T>>,
    ) -> Each<T> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let fault = self.fault(call);
        let answers = match fault {
            Some(Fault::Dropped) => Vec::new(),
            _ => inner.await,
        };
        match fault {
            None => answers,
            Some(_) => locks.iter().map(|_| Err(unreachable())).collect(),
        }
    }
}

fn unreachable() -> StoreError {
    StoreError::Unreachable {
        store: "faulty".into(),
        source: "no answer".into(),
    }
}

impl IdempotencyStore for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    async fn open(&self) -> Result<(), StoreError> {
        match &*self.plan() {
            Plan { is_unfit: true, .. } => Err(StoreError::Unfit {
                store: "faulty".to_owned(),
                reason: "it is read-only".to_owned(),
                remedy: "make it the master".to_owned(),
            }),
            Plan { is_down: true, .. } => Err(unreachable()),
            _ => Ok(()),
        }
    }

    async fn acquire(&self, locks: &[Lock], timeout: Duration) -> Each<Acquisition> {
        let inner = IdempotencyStore::acquire(&self.inner, locks, timeout);
        self.call("acquire", locks, inner).await
    }

    async fn renew(&self, locks: &[Lock], timeout: Duration) -> Each<Hold> {
        let inner = IdempotencyStore::renew(&self.inner, locks, timeout);
        self.call("renew", locks, inner).await
    }

    async fn confirm(&self, locks: &[Lock], ttl: Duration) -> Each<Hold> {
        let inner = IdempotencyStore::confirm(&self.inner, locks, ttl);
        self.call("confirm", locks, inner).await
    }

    async fn release(&self, locks: &[Lock]) -> Each<bool> {
        let inner = IdempotencyStore::release(&self.inner, locks);
        self.call("release", locks, inner).await
    }
}
