//! The manifest of a testnet, `testnet.json` in its directory: the network, the nodes with their ports
//! and mining addresses, and the topology. Knows no processes.

use super::directory::{Directory, NETWORK_FILE};
use super::ports;
use super::topology::{NodeNumber, Topology};
use crate::config::network;
use crate::json_file;
use crate::seed::Seed;
use anyhow::{Context, Result, bail, ensure};
use chain::{Address, Params};
use p2p::PeerId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Maximum number of nodes: each is a process with some 30 MiB and a few connections.
pub const MAX_NODES: usize = 64;
/// Cache size of each node's index in MiB: testnets are small, and their nodes share a machine.
const CACHE_MB: &str = "32";

/// The manifest of a testnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name of a built-in network, or `network.toml`.
    pub network: String,
    /// The topology of connections.
    pub topology: Topology,
    /// The nodes by number, from 1.
    pub nodes: Vec<Node>,
    /// The pairs of nodes that connect.
    pub links: Vec<Link>,
    /// The blocks that the first node generates, without mining threads.
    #[serde(default)]
    pub generation: Generation,
    /// What keys, ports, blocks and the relay derive from; `None` if they are random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
}

/// When the first node of a testnet generates blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Whether a transfer that arrives is confirmed at once.
    #[serde(default)]
    pub automine: bool,
    /// Seconds from one block to the next.
    pub block_time: Option<NonZeroU32>,
}

impl Generation {
    /// Whether the first node generates any block.
    pub fn is_enabled(self) -> bool {
        self.automine || self.block_time.is_some()
    }

    /// The flags of the node that generates the blocks.
    fn flags(self) -> Vec<OsString> {
        let automine = self.automine.then(|| "--automine".into());
        let block_time =
            self.block_time.map(|seconds| ["--block-time".into(), seconds.to_string().into()]);
        automine.into_iter().chain(block_time.into_iter().flatten()).collect()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.automine, self.block_time) {
            (false, None) => f.write_str("none"),
            (true, None) => f.write_str("automine"),
            (false, Some(seconds)) => write!(f, "every {seconds} s"),
            (true, Some(seconds)) => write!(f, "automine and every {seconds} s"),
        }
    }
}

/// A pair of neighbours, which connect through the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The node that dials.
    pub dialer: NodeNumber,
    /// The node that is dialed.
    pub listener: NodeNumber,
    /// The port of the relay for this pair.
    pub port: u16,
}

impl Link {
    /// The address at which one node dials the other.
    pub fn multiaddr(&self) -> String {
        multiaddr(self.port)
    }
}

/// A node of a testnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Port of the node's REST API.
    pub api: u16,
    /// Port of the relay at which the node accepts peers that are not of this testnet.
    pub peers: u16,
    /// Port at which the node itself listens, for the relay.
    pub listen: u16,
    /// The address that the node's blocks pay; `None` if the node does not mine.
    pub miner: Option<String>,
    /// The program of the node; `None` for the one that starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
    /// Size in MiB of a disk for the node's block log; `None` if it is on the disk of the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mb: Option<u32>,
}

impl Node {
    /// The URL of the node's REST API.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// The address at which nodes that are not of this testnet dial it.
    pub fn multiaddr(&self) -> String {
        multiaddr(self.peers)
    }
}

fn multiaddr(port: u16) -> String {
    format!("/ip4/127.0.0.1/tcp/{port}")
}

impl Manifest {
    /// A testnet without nodes.
    pub fn new(network: String, topology: Topology) -> Manifest {
        let (nodes, links, generation) = (Vec::new(), Vec::new(), Generation::default());
        Manifest { network, topology, nodes, links, generation, seed: None }
    }

    /// Reads the manifest of a directory and its network; `None` if there is no testnet.
    pub fn read(directory: &Directory) -> Result<Option<(Manifest, Params)>> {
        let path = directory.manifest();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let read = Manifest::parse(&text).and_then(|manifest| {
            let params = network::load(&manifest.network_flag(directory))?;
            manifest.check_miners(&params)?;
            Ok((manifest, params))
        });
        let context = || {
            let path = path.display();
            format!(
                "{path} is not the manifest of a testnet (`chain testnet down --delete` removes it)"
            )
        };
        read.map(Some).with_context(context)
    }

    /// Writes the manifest atomically.
    pub fn write(&self, directory: &Directory) -> Result<()> {
        json_file::write(&directory.manifest(), self)
    }

    fn parse(text: &str) -> Result<Manifest> {
        let manifest: Manifest = serde_json::from_str(text)?;
        let (count, ports) = (manifest.nodes.len(), manifest.ports());
        ensure!((1..=MAX_NODES).contains(&count), "it has {count} nodes, not 1 to {MAX_NODES}");
        ensure!(!ports.contains(&0), "port 0 is not a fixed port");
        ensure!(ports.len() == 3 * count + manifest.links.len(), "a port is used twice");
        let exists = |link: &Link| link.dialer.index().max(link.listener.index()) < count;
        ensure!(manifest.links.iter().all(exists), "it has a link of a node that does not exist");
        let is_custom = manifest.network == NETWORK_FILE;
        ensure!(
            is_custom || network::built_in(&manifest.network).is_some(),
            "no network {:?}",
            manifest.network
        );
        Ok(manifest)
    }

    fn check_miners(&self, params: &Params) -> Result<()> {
        for miner in self.nodes.iter().filter_map(|node| node.miner.as_deref()) {
            Address::decode_for(miner, params.hrp()).with_context(|| format!("miner `{miner}`"))?;
        }
        Ok(())
    }

    /// The numbers of all nodes.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = NodeNumber> + use<> {
        NodeNumber::first(self.nodes.len())
    }

    /// The node of a number, which must be one of `numbers`.
    pub fn node(&self, number: NodeNumber) -> &Node {
        &self.nodes[number.index()]
    }

    /// The number of mining nodes.
    pub fn miners(&self) -> usize {
        self.nodes.iter().filter(|node| node.miner.is_some()).count()
    }

    /// The nodes that arguments name, sorted: numbers, names such as `node-1`, or `all`.
    pub fn select(&self, names: &[String]) -> Result<Vec<NodeNumber>> {
        let mut selected = BTreeSet::new();
        for name in names {
            match NodeNumber::parse(name).filter(|number| number.index() < self.nodes.len()) {
                _ if name == "all" => selected.extend(self.numbers()),
                Some(number) => drop(selected.insert(number)),
                None => {
                    let known: Vec<String> =
                        self.numbers().map(|known| known.to_string()).collect();
                    bail!("no node `{name}`: this testnet has {}", known.join(", "));
                }
            }
        }
        Ok(selected.into_iter().collect())
    }

    /// Adds nodes that do not mine up to a number of nodes, and the links of the topology.
    pub fn add_nodes(&mut self, count: usize) -> Result<()> {
        let missing = count.saturating_sub(self.nodes.len());
        let ports = ports::free(3 * missing, &self.ports(), self.seed)?;
        self.nodes.extend(ports.chunks_exact(3).map(|ports| Node {
            api: ports[0],
            peers: ports[1],
            listen: ports[2],
            miner: None,
            binary: None,
            disk_mb: None,
        }));
        self.add_links()
    }

    /// Replaces the links that are not of the topology, which has others with more nodes, and retains
    /// the ports of all others. The node with the higher number dials.
    fn add_links(&mut self) -> Result<()> {
        let (topology, count) = (self.topology, self.nodes.len());
        let pairs = self.numbers().flat_map(|dialer| {
            let lower = topology.neighbours(dialer, count).filter(move |other| *other < dialer);
            lower.map(move |listener| (dialer, listener))
        });
        let pairs: Vec<_> = pairs.collect();
        self.links.retain(|link| pairs.contains(&(link.dialer, link.listener)));
        let is_new = |(dialer, listener): &(NodeNumber, NodeNumber)| {
            !self.links.iter().any(|link| (link.dialer, link.listener) == (*dialer, *listener))
        };
        let new: Vec<_> = pairs.into_iter().filter(is_new).collect();
        let ports = ports::free(new.len(), &self.ports(), self.seed)?;
        let new = new.into_iter().zip(ports);
        let new = new.map(|((dialer, listener), port)| Link { dialer, listener, port });
        self.links.extend(new);
        Ok(())
    }

    /// Assigns new ports to the relay, which does not run, where they are in use; returns whether there
    /// were any.
    pub fn reassign_used_relay_ports(&mut self) -> Result<bool> {
        let mut reserved = self.ports();
        let entries = self.nodes.iter_mut().map(|node| &mut node.peers);
        let mut is_changed = false;
        for port in entries.chain(self.links.iter_mut().map(|link| &mut link.port)) {
            if ports::is_in_use(*port) {
                *port = ports::free(1, &reserved, self.seed)?[0];
                reserved.insert(*port);
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    /// Assigns new ports to those of the given stopped nodes whose ports are in use; returns their
    /// numbers.
    pub fn reassign_used_ports(&mut self, stopped: &[NodeNumber]) -> Result<Vec<NodeNumber>> {
        let mut reserved = self.ports();
        let mut reassigned = Vec::new();
        for number in stopped {
            let node = &mut self.nodes[number.index()];
            for port in [&mut node.api, &mut node.listen] {
                if ports::is_in_use(*port) {
                    *port = ports::free(1, &reserved, self.seed)?[0];
                    reserved.insert(*port);
                    reassigned.push(*number);
                }
            }
        }
        reassigned.dedup();
        Ok(reassigned)
    }

    fn ports(&self) -> BTreeSet<u16> {
        let nodes = self.nodes.iter().flat_map(|node| [node.api, node.peers, node.listen]);
        nodes.chain(self.links.iter().map(|link| link.port)).collect()
    }

    /// The flags of `chain node` for a node, which dials neighbours through the relay. `peer_id` returns
    /// the peer id of a node: a node of another testnet may listen at the port of one that is down.
    pub fn flags(
        &self,
        directory: &Directory,
        number: NodeNumber,
        peer_id: impl Fn(NodeNumber) -> Result<PeerId>,
    ) -> Result<Vec<OsString>> {
        let node = self.node(number);
        let mut flags: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: OsString| flags.extend([name.into(), value]);
        flag("--network", self.network_flag(directory).into());
        flag("--data", directory.node(number).into());
        flag("--api", format!("127.0.0.1:{}", node.api).into());
        flag("--listen", multiaddr(node.listen).into());
        flag("--external-address", node.multiaddr().into());
        // Connects to the neighbours of the topology only.
        flag("--discover", "false".into());
        flag("--threads", "1".into());
        flag("--cache-mb", CACHE_MB.into());
        for link in self.links.iter().filter(|link| link.dialer == number) {
            let address = format!("{}/p2p/{}", link.multiaddr(), peer_id(link.listener)?);
            flag("--peer", address.into());
        }
        if let Some(miner) = &node.miner {
            flag("--miner", miner.into());
            match self.generation.is_enabled() {
                true => flags.extend(self.generation.flags()),
                false => flags.push("--mine".into()),
            }
        }
        Ok(flags)
    }

    fn network_flag(&self, directory: &Directory) -> String {
        match network::built_in(&self.network) {
            Some(_) => self.network.clone(),
            None => directory.path().join(&self.network).to_string_lossy().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::identity::Keypair;
    use std::net::{Ipv4Addr, TcpListener};

    fn manifest(topology: Topology, count: usize) -> Manifest {
        let mut manifest = Manifest::new("dev".to_owned(), topology);
        manifest.add_nodes(count).unwrap();
        manifest
    }

    fn number(name: &str) -> NodeNumber {
        NodeNumber::parse(name).unwrap()
    }

    /// The nodes that a node dials.
    fn peers(manifest: &Manifest, name: &str) -> Vec<NodeNumber> {
        let flags = manifest.flags(&Directory::at("/t".into()), number(name), peer_id).unwrap();
        let flags: Vec<&str> = flags.iter().map(|flag| flag.to_str().unwrap()).collect();
        let dialed = flags.windows(2).filter(|pair| pair[0] == "--peer").map(|pair| pair[1]);
        let dialed = dialed.map(|address| {
            let (address, id) = address.split_once("/p2p/").unwrap();
            let link = manifest.links.iter().find(|link| link.multiaddr() == address).unwrap();
            assert_eq!(id, peer_id(link.listener).unwrap().to_string());
            link.listener
        });
        dialed.collect()
    }

    /// A fixed peer id for each node.
    fn peer_id(number: NodeNumber) -> Result<PeerId> {
        let key = Keypair::ed25519_from_bytes([u8::try_from(number.index())?; 32])?;
        Ok(key.public().to_peer_id())
    }

    #[test]
    fn one_node_of_each_pair_dials() {
        for topology in [Topology::Line, Topology::Ring, Topology::Star, Topology::Full] {
            let manifest = manifest(topology, 5);
            let mut dials = BTreeSet::new();
            for dialer in manifest.numbers() {
                for dialed in peers(&manifest, &dialer.to_string()) {
                    assert!(dials.insert((dialed, dialer)), "{topology}: twice");
                    assert!(dialed < dialer);
                }
            }
            let pairs = manifest.numbers().map(|node| topology.neighbours(node, 5).count());
            assert_eq!(dials.len() * 2, pairs.sum::<usize>(), "{topology}");
        }
    }

    #[test]
    fn nodes_listen_and_dial_at_ports_of_the_relay_only() {
        let manifest = manifest(Topology::Full, 3);
        let listening: BTreeSet<u16> = manifest.nodes.iter().map(|node| node.listen).collect();
        for number in manifest.numbers() {
            let flags = manifest.flags(&Directory::at("/t".into()), number, peer_id).unwrap();
            let flags: Vec<&str> = flags.iter().map(|flag| flag.to_str().unwrap()).collect();
            for pair in flags.windows(2) {
                let address = pair[1].split("/p2p/").next().unwrap();
                let port = address.rsplit('/').next().unwrap().parse().unwrap_or(0);
                let is_address = ["--peer", "--external-address"].contains(&pair[0]);
                assert!(!is_address || !listening.contains(&port), "{pair:?}");
            }
        }
    }

    #[test]
    fn reassigns_ports_in_use() {
        let mut manifest = manifest(Topology::Line, 3);
        let before = manifest.clone();
        let all: Vec<NodeNumber> = manifest.numbers().collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, manifest.nodes[0].listen)).unwrap();
        assert_eq!(manifest.reassign_used_ports(&all[1..]).unwrap(), []);
        assert_eq!(manifest, before);

        assert_eq!(manifest.reassign_used_ports(&all).unwrap(), [number("1")]);
        let port = manifest.nodes[0].listen;
        assert!(port != listener.local_addr().unwrap().port() && !before.ports().contains(&port));
        assert_eq!(manifest.nodes[0].api, before.nodes[0].api);
        assert_eq!(manifest.nodes[1..], before.nodes[1..]);
    }

    #[test]
    fn reassigns_relay_ports_in_use() {
        let mut manifest = manifest(Topology::Line, 3);
        assert!(!manifest.reassign_used_relay_ports().unwrap());
        let before = manifest.clone();
        let busy = [manifest.nodes[0].peers, manifest.links[1].port];
        let _listeners = busy.map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        assert!(manifest.reassign_used_relay_ports().unwrap());
        assert!(!busy.iter().any(|port| manifest.ports().contains(port)));
        assert_eq!(manifest.links[0], before.links[0]);
        assert_eq!(manifest.nodes[1..], before.nodes[1..]);
    }

    #[test]
    fn add_nodes_preserves_existing_ones() {
        let mut manifest = manifest(Topology::Ring, 2);
        let before = manifest.clone();
        manifest.add_nodes(4).unwrap();
        assert_eq!(manifest.nodes[..2], before.nodes);
        // The ring has other neighbours now, and retains the ports of those that remain.
        assert_eq!((manifest.nodes.len(), manifest.links.len()), (4, 4));
        assert!(manifest.links.contains(&before.links[0]));
        assert_eq!(manifest.ports().len(), 3 * 4 + 4);
        manifest.add_nodes(1).unwrap();
        assert_eq!(manifest.nodes.len(), 4);
    }

    #[test]
    fn select_accepts_names_in_any_order() {
        let manifest = manifest(Topology::Star, 3);
        let select = |names: &[&str]| {
            manifest.select(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(select(&["node-3", "1", "3"]).unwrap(), [number("1"), number("3")]);
        assert_eq!(select(&["all"]).unwrap().len(), 3);
        let message = select(&["1", "4"]).unwrap_err().to_string();
        assert_eq!(message, "no node `4`: this testnet has node-1, node-2, node-3");
    }

    #[test]
    fn manifest_round_trips() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Directory::at(directory.path().to_owned());
        assert!(Manifest::read(&directory).unwrap().is_none());
        let mut manifest = manifest(Topology::Full, 3);
        manifest.nodes[0].miner = Some(Address::ZERO.encode(Params::dev().hrp()));
        manifest.write(&directory).unwrap();
        let (read, params) = Manifest::read(&directory).unwrap().unwrap();
        assert_eq!((&read, params.name()), (&manifest, "dev"));
        assert_eq!((read.miners(), read.nodes.len()), (1, 3));
    }

    #[test]
    fn rejects_invalid_manifests() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::at(dir.path().to_owned());
        let good = r#"{"network": "dev", "topology": "ring",
            "nodes": [{"api": 1, "peers": 2, "listen": 3, "miner": null}], "links": []}"#;
        let error = |from: &str, to: &str| {
            let text = good.replace(from, to);
            assert!(from.is_empty() || text != good, "{from}");
            fs::write(directory.manifest(), text).unwrap();
            format!("{:#}", Manifest::read(&directory).map(|_| ()).unwrap_err())
        };
        fs::write(directory.manifest(), good).unwrap();
        assert!(Manifest::read(&directory).unwrap().is_some());
        for (from, to, reason) in [
            ("{\"network", "x", "expected value"),
            ("\"ring\"", "\"knot\"", "unknown variant `knot`"),
            ("\"miner\"", "\"minor\"", "unknown field `minor`"),
            ("[{\"api\": 1, \"peers\": 2, \"listen\": 3, \"miner\": null}]", "[]", "0 nodes"),
            ("\"api\": 1", "\"api\": 0", "port 0"),
            ("\"api\": 1", "\"api\": 2", "used twice"),
            ("\"api\": 1", "\"api\": 65536", "invalid value"),
            ("\"dev\"", "\"../x\"", "no network \"../x\""),
            ("\"dev\"", "\"network.toml\"", "no network"),
            ("null", "\"not-an-address\"", "miner `not-an-address`"),
            (
                "\"links\": []",
                "\"links\": [{\"dialer\": 2, \"listener\": 1, \"port\": 4}]",
                "a node that does not exist",
            ),
        ] {
            let message = error(from, to);
            assert!(message.contains("testnet.json") && message.contains(reason), "{message}");
        }
    }
}
