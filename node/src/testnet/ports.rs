//! Free ports of this machine's loopback interface.
//!
//! A port that was chosen is in use only once its node listens. Until this process ends, which by then
//! has started the node, it reserves the port by a UDP socket of the same number: other testnets that
//! start at the same time choose others. The system releases it however the process ends.

use crate::seed::Seed;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// Range of assigned ports: below the ephemeral ports of systems, so that a port is still free when
/// its node restarts.
const RANGE: std::ops::Range<u16> = 10_000..32_768;
/// Maximum number of attempts per port.
const TRIES: usize = 1_000;
/// Maximum number of reserved ports: each is an open file. More ports than that are chosen unreserved.
const MAX_RESERVED: usize = 512;

/// The sockets of reserved ports.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A number of free ports outside those that are reserved: the same for the same seed, as far as they are
/// free.
pub fn free(count: usize, reserved: &BTreeSet<u16>, seed: Option<Seed>) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    let reserved_tries = if seed.is_some() { reserved.len() } else { 0 };
    for attempt in 0..count.saturating_mul(TRIES).saturating_add(reserved_tries) {
        if ports.len() == count {
            break;
        }
        let random = match seed {
            Some(seed) => {
                let [low, high, ..] = seed.bytes(&format!("port {attempt}"));
                u16::from_le_bytes([low, high])
            }
            None => random()?,
        };
        let port = RANGE.start + random % (RANGE.end - RANGE.start);
        let is_known = reserved.contains(&port) || ports.contains(&port);
        if !is_known && !is_in_use(port) && reserve(port) {
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

/// Reserves a port until this process ends; returns whether no other testnet has.
fn reserve(port: u16) -> bool {
    reserve_in(&mut RESERVED.lock().unwrap_or_else(PoisonError::into_inner), port)
}

fn reserve_in(all: &mut Vec<UdpSocket>, port: u16) -> bool {
    if all.len() >= MAX_RESERVED {
        return true;
    }
    match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(socket) => {
            all.push(socket);
            true
        }
        // Of open files there may be too few.
        Err(error) => error.kind() != ErrorKind::AddrInUse,
    }
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
        let ports = free(20, &BTreeSet::new(), None).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_in_use(listener.local_addr().unwrap().port()));
    }

    // Testnets that started at once used to choose the same ports now and then.
    #[test]
    fn chosen_port_is_reserved_until_its_node_listens() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let is_own = |port: &u16| reserve_in(&mut one, *port);
        let port = RANGE.rev().filter(|port| !is_in_use(*port)).find(is_own).unwrap();
        assert!(!is_in_use(port), "its node can listen");
        assert!(!reserve_in(&mut other, port), "another testnet chose it, too");
        drop(one);
        assert!(reserve_in(&mut other, port));
    }

    #[test]
    fn ports_of_a_seed_continue_where_they_ended() {
        let (seed, none) = (Some(Seed::new(7)), BTreeSet::new());
        let first = free(4, &none, seed).unwrap();
        let reserved = first.iter().copied().collect();
        let second = free(4, &reserved, seed).unwrap();
        assert!(second.iter().all(|port| !first.contains(port)));
        assert_ne!(free(4, &none, Some(Seed::new(8))).unwrap(), first);
    }

    #[test]
    fn skips_reserved_ports() {
        let all_but_few: BTreeSet<u16> = RANGE.filter(|port| port % 64 != 7).collect();
        let ports = free(3, &all_but_few, None).unwrap();
        assert!(ports.iter().all(|port| port % 64 == 7));
        assert!(
            free(1, &RANGE.collect(), None).unwrap_err().to_string().contains("no port from 10000")
        );
    }
}
