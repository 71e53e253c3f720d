//! The cases. Each is a claim of the contract; `ordering_conformance!` lists them.

mod admissions;
mod claims;
mod completions;
mod firsts;
mod leases;
mod reports;
mod rooms;
mod sessions;
mod steering;

pub use admissions::*;
pub use claims::*;
pub use completions::*;
pub use firsts::*;
pub use leases::*;
pub use reports::*;
pub use rooms::*;
pub use sessions::*;
pub use steering::*;

use super::TestStores;
use super::fleet::{Fleet, Situation};
use crate::ordering::OrderingPolicies;
use crate::store::memory::StoreClock;

/// A store of its own for a case.
struct Stage<S> {
    store: S,
    clock: StoreClock,
}

impl<S: crate::store::ordering::OrderingStore> Stage<S> {
    async fn new<R: TestStores<Store = S>>(stores: &R) -> Self {
        Self::with(stores, |_| {}).await
    }

    async fn with<R: TestStores<Store = S>>(stores: &R, change: impl FnOnce(&mut OrderingPolicies)) -> Self {
        let situation = Situation::new("conformance");
        let clock = situation.clock();
        let store = stores.store(situation.scope_with(change), clock.clone()).await;
        Self { store, clock }
    }

    /// Let a process begin.
    async fn fleet(&self) -> Fleet<'_, S> {
        Fleet::new(&self.store, self.clock.clone()).await
    }
}
