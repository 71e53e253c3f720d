//! What the stores of a key space have in common: a server, and the name that begins their keys.

use std::fmt;
use std::sync::Arc;

use athomic_core::store::memory::StoreClock;
use athomic_core::store::{KeySpace, KeyValueSettings, StoreError};

use crate::call::{Call, Script};
use crate::server::Server;

/// A key space on a server, which other spaces may use as well.
pub(crate) struct Space {
    pub(crate) server: Arc<Server>,
    pub(crate) id: String,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space")
            .field("server", &self.server.target.name)
            .field("id", &self.id)
            .finish()
    }
}

impl Space {
    /// Take a space over a connection of its own. Opens none yet.
    pub(crate) fn connect(settings: &KeyValueSettings, space: &KeySpace) -> Result<Self, StoreError> {
        Ok(Self::on(&Arc::new(Server::new(settings)?), space))
    }

    /// Take a space over a connection that others use as well.
    pub(crate) fn on(server: &Arc<Server>, space: &KeySpace) -> Self {
        Self {
            server: Arc::clone(server),
            id: space.id().to_owned(),
        }
    }

    /// Go by another clock than Redis'.
    pub(crate) fn driven_by(mut self, clock: StoreClock) -> Self {
        let server = Arc::get_mut(&mut self.server).expect("a connection of its own");
        server.clock = Some(clock);
        self
    }

    /// Begin a call on keys of the space, all of which lie in one slot.
    pub(crate) fn begin(&self, script: &'static Script, kinds: [&str; 3]) -> Call {
        let mut call = self.server.begin(script);
        for kind in kinds {
            call.key(&["ath:{", &self.id, "}:", kind]);
        }
        call
    }
}
