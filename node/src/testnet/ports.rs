//! Free ports of this machine's loopback interface.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// Range of assigned ports: below the ephemeral ports of systems, so that a port is still free when
/// its node restarts.
const RANGE: std::ops::Range<u16> = 10_000..32_768;
/// Maximum number of attempts per port.
const TRIES: usize = 1_000;

/// A number of free ports outside those that are reserved.
pub fn free(count: usize, reserved: &BTreeSet<u16>) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for _ in 0..count.saturating_mul(TRIES) {
        if ports.len() == count {
            break;
        }
        let port = RANGE.start + random()? % (RANGE.end - RANGE.start);
        if !reserved.contains(&port) && !ports.contains(&port) && !is_in_use(port) {
            ports.push(port);
        }
    }
    ensure!(ports.len() == count, "no port from {} to {} is free", RANGE.start, RANGE.end - 1);
    Ok(ports)
}

/// Random, so that two testnets that start together do not try the same ports.
fn random() -> Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

/// Whether a port cannot be bound.
pub fn is_in_use(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_distinct_and_bindable() {
        let ports = free(20, &BTreeSet::new()).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_in_use(listener.local_addr().unwrap().port()));
    }

    #[test]
    fn skips_reserved_ports() {
        let all_but_few: BTreeSet<u16> = RANGE.filter(|port| port % 64 != 7).collect();
        let ports = free(3, &all_but_few).unwrap();
        assert!(ports.iter().all(|port| port % 64 == 7));
        assert!(free(1, &RANGE.collect()).unwrap_err().to_string().contains("no port from 10000"));
    }
}
