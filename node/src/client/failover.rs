//! The nodes of a client, which stand in for each other: the one in use, the order in which the
//! others are tried, and the network that all of them must be on.

use super::error::WrongNetwork;
use crate::escape::printable;
use chain::Params;
use reqwest::Url;
use serde::Deserialize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A non-empty list of nodes, and the index of the one that responded last.
#[derive(Debug)]
pub(super) struct Failover {
    nodes: Vec<Node>,
    current: AtomicUsize,
    /// The network of all nodes: the required one, otherwise that of the first node to respond.
    network: OnceLock<NetworkId>,
}

#[derive(Debug)]
struct Node {
    base: Url,
    /// Whether the node's network was checked and no connection to it has failed since.
    is_verified: AtomicBool,
}

/// The fields of `/v1/chain` that identify a network.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NetworkId {
    network: String,
    genesis: String,
}

impl NetworkId {
    pub(super) fn of(params: &Params) -> NetworkId {
        let (network, genesis) = (params.name().to_owned(), params.genesis_hash().to_string());
        NetworkId { network, genesis }
    }
}

impl Failover {
    /// The nodes at these URLs, of which there must be at least one.
    pub(super) fn new(bases: Vec<Url>) -> Failover {
        assert!(!bases.is_empty(), "a client has a node");
        let node = |base| Node { base, is_verified: AtomicBool::new(false) };
        let nodes = bases.into_iter().map(node).collect();
        Failover { nodes, current: AtomicUsize::new(0), network: OnceLock::new() }
    }

    /// One of the nodes alone, with the same required network.
    pub(super) fn single(&self, index: usize) -> Failover {
        let Node { base, is_verified } = &self.nodes[index];
        let is_verified = AtomicBool::new(is_verified.load(Ordering::Relaxed));
        let nodes = vec![Node { base: base.clone(), is_verified }];
        Failover { nodes, current: AtomicUsize::new(0), network: self.network.clone() }
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The index of the node in use.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Every index once, from the node in use on.
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.current(), self.count());
        (0..count).map(move |offset| (first + offset) % count)
    }

    pub(super) fn switch_to(&self, index: usize) {
        self.current.store(index, Ordering::Relaxed);
    }

    pub(super) fn base(&self, index: usize) -> &Url {
        &self.nodes[index].base
    }

    pub(super) fn position(&self, base: &Url) -> Option<usize> {
        self.nodes.iter().position(|node| node.base == *base)
    }

    /// Sets the network that all nodes must be on, unless one is set already.
    pub(super) fn require_network(&self, network: NetworkId) {
        let _ = self.network.set(network);
    }

    /// Whether the network of a node has to be checked before it is used. A lone node may be on
    /// any network unless one is required.
    pub(super) fn needs_check(&self, index: usize) -> bool {
        let matters = self.count() > 1 || self.network.get().is_some();
        matters && !self.nodes[index].is_verified.load(Ordering::Relaxed)
    }

    /// Checks the network that a node has reported.
    pub(super) fn check_network(
        &self,
        index: usize,
        found: &NetworkId,
    ) -> Result<(), WrongNetwork> {
        let required = self.network.get_or_init(|| found.clone());
        if required.genesis != found.genesis {
            return Err(WrongNetwork(format!(
                "the node at {} is on network {} (genesis {}), not {} (genesis {}): \
                 use --node or --data of another node, or the right --network",
                self.base(index),
                printable(&found.network),
                printable(&found.genesis),
                printable(&required.network),
                printable(&required.genesis),
            )));
        }
        self.nodes[index].is_verified.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Has the network of a node checked again: another node may listen there by now.
    pub(super) fn recheck(&self, index: usize) {
        self.nodes[index].is_verified.store(false, Ordering::Relaxed);
    }
}
