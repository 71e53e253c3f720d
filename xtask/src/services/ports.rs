//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below the ranges from which systems take ports for outgoing connections, so that a server
/// which is killed and started again finds its port still free.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Return `count` different ports on which nobody listens.
///
/// Each xtask begins to look somewhere else: two that start at the same time seldom meet.
pub(crate) fn free(count: usize) -> Result<Vec<u16>> {
    choose(spread(std::process::id()), count, |port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    })
}

/// Turn process ids that are neighbours into starts that are far apart.
fn spread(pid: u32) -> u16 {
    u16::try_from(pid.wrapping_mul(7919) % 12_000).expect("below the size of the range")
}

fn choose(start: u16, count: usize, is_free: impl Fn(u16) -> bool) -> Result<Vec<u16>> {
    let ports: Vec<u16> = RANGE
        .cycle()
        .skip(usize::from(start))
        .take(RANGE.len())
        .filter(|port| is_free(*port))
        .take(count)
        .collect();
    if ports.len() < count {
        bail!("no free port between {} and {}", RANGE.start, RANGE.end);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_ports_are_passed_over() {
        let ports = choose(0, 3, |port| port % 2 == 1).unwrap();
        assert_eq!(ports, [20_001, 20_003, 20_005]);
    }

    #[test]
    fn the_search_goes_round_once() {
        assert_eq!(choose(11_999, 2, |_| true).unwrap(), [31_999, 20_000]);
        assert_eq!(choose(11_999, 1, |port| port == 31_998).unwrap(), [31_998]);
        assert!(choose(5, 1, |_| false).is_err());
        assert!(choose(5, 2, |port| port == 20_500).is_err());
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let taken = free(1).unwrap()[0];
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
        assert_ne!(free(1).unwrap()[0], taken);
    }
}
