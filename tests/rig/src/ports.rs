//! Free ports on loopback that stay free while their node is down.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ranges from which systems take ports for outgoing connections, and not those in which
/// `cargo xtask services` looks.
const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

/// How many ports this process has looked at: none is given out twice.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// Return a port on which nobody listens. Each process begins to look somewhere else.
pub(crate) fn free() -> u16 {
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).expect("below 20,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
