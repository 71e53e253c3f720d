//! The sockets of a client, so that its connections can be cut.
//!
//! A broker reads nothing more from a connection while a request on it waits for its answer, and who
//! joins a group of the classic protocol waits until the last member has joined or is given up, which
//! takes up to the session time-out. librdkafka joins, commits and leaves over one connection, so that
//! for all that time no commit arrives and nobody can leave. Over a new connection both do: the member
//! is still one, and its generation still holds. librdkafka makes one when it loses the old one, and
//! asks again for what was not answered.

use std::collections::HashMap;
use std::ffi::c_int;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, Protocol, Shutdown, SocketType, getpeername, shutdown, socket};

use super::slack;

/// A second descriptor of each open socket. librdkafka owns the first and closes it when it likes, which
/// would make a bare number point to something else.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Mutex<HashMap<RawFd, OwnedFd>>,
    carries: Carries,
}

/// What a client's connections are for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Membership and commits.
    #[default]
    Membership,
    /// Messages: their threads wake on time.
    Messages,
}

impl Sockets {
    pub(super) fn new(carries: Carries) -> Self {
        Self {
            carries,
            ..Self::default()
        }
    }

    /// Make a socket for librdkafka, which owns it from here on. Called on the thread that will use it.
    pub(super) fn open(&self, family: c_int, kind: c_int, protocol: c_int) -> io::Result<RawFd> {
        if self.carries == Carries::Messages {
            slack::none();
        }
        let family = u16::try_from(family).map_err(io::Error::other)?;
        let protocol = NonZeroU32::new(protocol.cast_unsigned());
        let opened = socket(
            AddressFamily::from_raw(family),
            SocketType::from_raw(kind.cast_unsigned()),
            protocol.map(Protocol::from_raw),
        )?;
        fcntl_setfd(&opened, FdFlags::CLOEXEC)?;
        let second = opened.try_clone()?;
        self.lock().insert(opened.as_raw_fd(), second);
        Ok(opened.into_raw_fd())
    }

    /// Forget a socket, before librdkafka's descriptor is closed.
    pub(super) fn forget(&self, descriptor: RawFd) {
        self.lock().remove(&descriptor);
    }

    /// Cut all connections. librdkafka sees them end and makes new ones.
    pub(super) fn cut(&self) {
        for socket in self.lock().values() {
            // Failing means that it is not connected, or no longer.
            let _not_connected = shutdown(socket, Shutdown::Both);
        }
    }

    /// Say whether there is a connection.
    pub(super) fn connected(&self) -> bool {
        self.lock().values().any(|socket| getpeername(socket).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RawFd, OwnedFd>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
