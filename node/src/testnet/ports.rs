//! Ports of this machine's loopback interface that nobody uses.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// Where ports are looked for: below those that systems give away by themselves, to one connection
/// after the other, so that a port is still free when its node comes back.
const RANGE: std::ops::Range<u16> = 10_000..32_768;
/// Most ports that are tried for one that is free.
const TRIES: usize = 1_000;

/// So many free ports, none of them among those that are spoken for.
pub fn free(count: usize, spoken_for: &BTreeSet<u16>) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for _ in 0..count.saturating_mul(TRIES) {
        if ports.len() == count {
            break;
        }
        let port = RANGE.start + random()? % (RANGE.end - RANGE.start);
        if !spoken_for.contains(&port) && !ports.contains(&port) && !is_taken(port) {
            ports.push(port);
        }
    }
    ensure!(ports.len() == count, "no port from {} to {} is free", RANGE.start, RANGE.end - 1);
    Ok(ports)
}

/// Two testnets that look at the same time should not try the same ports.
fn random() -> Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

/// Whether somebody listens on a port, or it cannot be had for another reason.
pub fn is_taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_distinct_and_can_be_had() {
        let ports = free(20, &BTreeSet::new()).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_taken(listener.local_addr().unwrap().port()));
    }

    #[test]
    fn ports_that_are_spoken_for_are_left_alone() {
        let all_but_few: BTreeSet<u16> = RANGE.filter(|port| port % 64 != 7).collect();
        let ports = free(3, &all_but_few).unwrap();
        assert!(ports.iter().all(|port| port % 64 == 7));
        assert!(free(1, &RANGE.collect()).unwrap_err().to_string().contains("no port from 10000"));
    }
}
