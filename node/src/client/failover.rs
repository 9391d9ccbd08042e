//! Several nodes of one network that stand in for each other: which is asked, in which order the
//! others are tried, and what all of them must be of.

use super::error::WrongNetwork;
use super::escape::printable;
use chain::Params;
use reqwest::Url;
use serde::Deserialize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where nodes are, and which of them answered last.
#[derive(Debug)]
pub(super) struct Failover {
    /// Never empty.
    nodes: Vec<Node>,
    /// The one that is asked first.
    at: AtomicUsize,
    /// What all must be of: as was wanted, otherwise what the first to answer is of.
    identity: OnceLock<NetworkId>,
}

#[derive(Debug)]
struct Node {
    base: Url,
    /// Whether it has shown what it is of, and was there ever since.
    is_known: AtomicBool,
}

/// What a node is of, as `/v1/chain` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NetworkId {
    network: String,
    genesis: String,
}

impl NetworkId {
    /// Of a network.
    pub(super) fn of(params: &Params) -> NetworkId {
        let (network, genesis) = (params.name().to_owned(), params.genesis_hash().to_string());
        NetworkId { network, genesis }
    }
}

impl Failover {
    /// Failover at these URLs, at least one.
    pub(super) fn new(bases: Vec<Url>) -> Failover {
        assert!(!bases.is_empty(), "whoever asks has somebody to ask");
        let node = |base| Node { base, is_known: AtomicBool::new(false) };
        let nodes = bases.into_iter().map(node).collect();
        Failover { nodes, at: AtomicUsize::new(0), identity: OnceLock::new() }
    }

    /// One of these alone, which must be of what all must be of.
    pub(super) fn one(&self, at: usize) -> Failover {
        let Node { base, is_known } = &self.nodes[at];
        let is_known = AtomicBool::new(is_known.load(Ordering::Relaxed));
        let nodes = vec![Node { base: base.clone(), is_known }];
        Failover { nodes, at: AtomicUsize::new(0), identity: self.identity.clone() }
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The one to ask first.
    pub(super) fn at(&self) -> usize {
        self.at.load(Ordering::Relaxed)
    }

    /// Each once, the one to ask first before those after it.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.at(), self.count());
        (0..count).map(move |further| (first + further) % count)
    }

    /// From now on this one is asked first.
    pub(super) fn stay_at(&self, at: usize) {
        self.at.store(at, Ordering::Relaxed);
    }

    pub(super) fn base(&self, at: usize) -> &Url {
        &self.nodes[at].base
    }

    pub(super) fn find(&self, base: &Url) -> Option<usize> {
        self.nodes.iter().position(|node| node.base == *base)
    }

    /// Says what all must be of; the same as what was said before.
    pub(super) fn must_be(&self, identity: NetworkId) {
        let _ = self.identity.set(identity);
    }

    /// Whether this one has to be asked what it is of. A lone one may be of anything, unless
    /// somebody has said what it must be.
    pub(super) fn is_to_show_identity(&self, at: usize) -> bool {
        let matters = self.count() > 1 || self.identity.get().is_some();
        matters && !self.nodes[at].is_known.load(Ordering::Relaxed)
    }

    /// Judges what this one is of.
    pub(super) fn judge(&self, at: usize, shown: &NetworkId) -> Result<(), WrongNetwork> {
        let wanted = self.identity.get_or_init(|| shown.clone());
        if wanted.genesis != shown.genesis {
            return Err(WrongNetwork(format!(
                "the node at {} is of network {} (genesis {}), not {} (genesis {}): \
                 give --node or --data of another, or the right --network",
                self.base(at),
                printable(&shown.network),
                printable(&shown.genesis),
                printable(&wanted.network),
                printable(&wanted.genesis),
            )));
        }
        self.nodes[at].is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Something may be there now that is of something else.
    pub(super) fn doubt(&self, at: usize) {
        self.nodes[at].is_known.store(false, Ordering::Relaxed);
    }
}
