//! What a testnet is made of, kept in its folder as `testnet.json`: which network, who is connected
//! with whom, where each node is to be found and whom it mines for. Knows nothing of processes.

use super::directory::{Folder, NETWORK_FILE};
use super::ports;
use super::topology::{Number, Topology};
use crate::config::network;
use anyhow::{Context, Result, bail, ensure};
use chain::{Address, Params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};

/// Most nodes: each is a process with some 30 MiB and a few connections.
pub const MAX_NODES: usize = 64;
/// Cache of each node's index, in MiB: testnets are small, and their nodes share a machine.
const CACHE_MB: &str = "32";

/// A testnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The name of a built-in network, or `network.toml`.
    pub network: String,
    /// Who is connected with whom.
    pub topology: Topology,
    /// The nodes, from number 1 on.
    pub nodes: Vec<Node>,
}

/// A node of a testnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Port of its REST API.
    pub api: u16,
    /// Port for other nodes.
    pub peers: u16,
    /// The address its blocks pay; `None` if it does not mine.
    pub miner: Option<String>,
}

impl Node {
    /// The URL of its API.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Where other nodes call it.
    pub fn multiaddr(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}", self.peers)
    }
}

impl Plan {
    /// The plan of the testnet in a folder, and its network; `None` if there is no testnet.
    pub fn read(folder: &Folder) -> Result<Option<(Plan, Params)>> {
        let path = folder.plan();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let read = Plan::parse(&text).and_then(|plan| {
            let params = network::load(&plan.network_flag(folder))?;
            plan.check_miners(&params)?;
            Ok((plan, params))
        });
        let context = || {
            let path = path.display();
            format!("{path} is no plan of a testnet (`chain testnet down --delete` removes it)")
        };
        read.map(Some).with_context(context)
    }

    /// Writes the plan so that the old or the new one is there, whole.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let path = folder.plan();
        let context = || format!("cannot write {}", path.display());
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder.path())?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.persist(&path)?;
            Ok::<_, anyhow::Error>(())
        };
        write().with_context(context)
    }

    fn parse(text: &str) -> Result<Plan> {
        let plan: Plan = serde_json::from_str(text)?;
        let (count, ports) = (plan.nodes.len(), plan.ports());
        ensure!((1..=MAX_NODES).contains(&count), "it has {count} nodes, not 1 to {MAX_NODES}");
        ensure!(!ports.contains(&0), "port 0 is none that a node could keep");
        ensure!(ports.len() == 2 * count, "a port comes twice");
        let own = plan.network == NETWORK_FILE;
        ensure!(own || network::built_in(&plan.network).is_some(), "no network {:?}", plan.network);
        Ok(plan)
    }

    fn check_miners(&self, params: &Params) -> Result<()> {
        for miner in self.nodes.iter().filter_map(|node| node.miner.as_deref()) {
            Address::decode_for(miner, params.hrp()).with_context(|| format!("miner `{miner}`"))?;
        }
        Ok(())
    }

    /// The numbers of all nodes.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = Number> + use<> {
        Number::first(self.nodes.len())
    }

    /// A node by its number, which must be one of `numbers`.
    pub fn node(&self, number: Number) -> &Node {
        &self.nodes[number.index()]
    }

    /// How many nodes mine.
    pub fn miners(&self) -> usize {
        self.nodes.iter().filter(|node| node.miner.is_some()).count()
    }

    /// The nodes that users name, in order and each once: numbers, names such as `node-1`, or `all`.
    pub fn select(&self, names: &[String]) -> Result<Vec<Number>> {
        let mut selected = BTreeSet::new();
        for name in names {
            match Number::parse(name).filter(|number| number.index() < self.nodes.len()) {
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

    /// Adds nodes that do not mine until there are so many.
    pub fn grow(&mut self, count: usize) -> Result<()> {
        let missing = count.saturating_sub(self.nodes.len());
        let ports = ports::free(2 * missing, &self.ports())?;
        self.nodes.extend(ports.chunks_exact(2).map(|ports| Node {
            api: ports[0],
            peers: ports[1],
            miner: None,
        }));
        Ok(())
    }

    /// Gives those of these nodes, none of which runs, other ports whose ports are taken by now:
    /// which ones.
    pub fn leave_taken_ports(&mut self, stopped: &[Number]) -> Result<Vec<Number>> {
        let mut spoken_for = self.ports();
        let mut moved = Vec::new();
        for number in stopped {
            let node = &mut self.nodes[number.index()];
            for port in [&mut node.api, &mut node.peers] {
                if ports::is_taken(*port) {
                    *port = ports::free(1, &spoken_for)?[0];
                    spoken_for.insert(*port);
                    moved.push(*number);
                }
            }
        }
        moved.dedup();
        Ok(moved)
    }

    fn ports(&self) -> BTreeSet<u16> {
        self.nodes.iter().flat_map(|node| [node.api, node.peers]).collect()
    }

    /// The flags of `chain node` for a node, given which nodes run already. It calls the neighbours
    /// before it, and of those after it the ones that run: they may know another port of it.
    pub fn flags(&self, folder: &Folder, number: Number, running: &[Number]) -> Vec<OsString> {
        let node = self.node(number);
        let mut flags: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: OsString| flags.extend([name.into(), value]);
        flag("--network", self.network_flag(folder).into());
        flag("--data", folder.node(number).into());
        flag("--api", format!("127.0.0.1:{}", node.api).into());
        flag("--listen", node.multiaddr().into());
        // The neighbours of the topology and nobody else.
        flag("--discover", "false".into());
        flag("--threads", "1".into());
        flag("--cache-mb", CACHE_MB.into());
        let neighbours = self.topology.neighbours(number, self.nodes.len());
        for other in neighbours.filter(|other| *other < number || running.contains(other)) {
            flag("--peer", self.node(other).multiaddr().into());
        }
        if let Some(miner) = &node.miner {
            flag("--miner", miner.into());
            flags.push("--mine".into());
        }
        flags
    }

    fn network_flag(&self, folder: &Folder) -> String {
        match network::built_in(&self.network) {
            Some(_) => self.network.clone(),
            None => folder.path().join(&self.network).to_string_lossy().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn plan(topology: Topology, count: usize) -> Plan {
        let mut plan = Plan { network: "dev".to_owned(), topology, nodes: Vec::new() };
        plan.grow(count).unwrap();
        plan
    }

    fn number(name: &str) -> Number {
        Number::parse(name).unwrap()
    }

    fn peers(plan: &Plan, name: &str, running: &[&str]) -> Vec<u16> {
        let running: Vec<Number> = running.iter().map(|name| number(name)).collect();
        let flags = plan.flags(&Folder::at("/t".into()), number(name), &running);
        let flags: Vec<&str> = flags.iter().map(|flag| flag.to_str().unwrap()).collect();
        let called = flags.windows(2).filter(|pair| pair[0] == "--peer").map(|pair| pair[1]);
        called.map(|address| address.rsplit('/').next().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn each_pair_of_neighbours_has_one_who_calls() {
        for topology in [Topology::Line, Topology::Ring, Topology::Star, Topology::Full] {
            let plan = plan(topology, 5);
            let mut calls = BTreeSet::new();
            for caller in plan.numbers() {
                for port in peers(&plan, &caller.to_string(), &[]) {
                    let called = plan.nodes.iter().position(|node| node.peers == port).unwrap();
                    assert!(calls.insert((called, caller.index())), "{topology}: twice");
                    assert!(called < caller.index());
                }
            }
            let pairs = plan.numbers().map(|node| topology.neighbours(node, 5).count());
            assert_eq!(calls.len() * 2, pairs.sum::<usize>(), "{topology}");
        }
    }

    #[test]
    fn a_node_that_comes_back_calls_the_neighbours_that_run() {
        let plan = plan(Topology::Ring, 4);
        let port = |name: &str| plan.node(number(name)).peers;
        assert_eq!(peers(&plan, "1", &[]), Vec::<u16>::new());
        assert_eq!(peers(&plan, "1", &["2", "3"]), [port("2")]);
        assert_eq!(peers(&plan, "3", &["2"]), [port("2")]);
    }

    #[test]
    fn a_port_that_is_taken_is_left_and_the_neighbours_are_told() {
        let mut plan = plan(Topology::Line, 3);
        let before = plan.clone();
        let all: Vec<Number> = plan.numbers().collect();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, plan.nodes[0].peers)).unwrap();
        assert_eq!(plan.leave_taken_ports(&all[1..]).unwrap(), []);
        assert_eq!(plan, before);

        assert_eq!(plan.leave_taken_ports(&all).unwrap(), [number("1")]);
        let port = plan.nodes[0].peers;
        assert!(port != taken.local_addr().unwrap().port() && !before.ports().contains(&port));
        assert_eq!(plan.nodes[0].api, before.nodes[0].api);
        assert_eq!(plan.nodes[1..], before.nodes[1..]);
        assert_eq!(peers(&plan, "2", &[]), [port]);
    }

    #[test]
    fn growing_keeps_what_is_there() {
        let mut plan = plan(Topology::Ring, 2);
        let before = plan.clone();
        plan.grow(4).unwrap();
        assert_eq!(plan.nodes[..2], before.nodes);
        assert_eq!((plan.nodes.len(), plan.ports().len()), (4, 8));
        plan.grow(1).unwrap();
        assert_eq!(plan.nodes.len(), 4);
    }

    #[test]
    fn users_name_nodes_in_any_order_and_wrong_names_are_told_the_right_ones() {
        let plan = plan(Topology::Star, 3);
        let select = |names: &[&str]| {
            plan.select(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(select(&["node-3", "1", "3"]).unwrap(), [number("1"), number("3")]);
        assert_eq!(select(&["all"]).unwrap().len(), 3);
        let message = select(&["1", "4"]).unwrap_err().to_string();
        assert_eq!(message, "no node `4`: this testnet has node-1, node-2, node-3");
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::at(folder.path().to_owned());
        assert!(Plan::read(&folder).unwrap().is_none());
        let mut plan = plan(Topology::Full, 3);
        plan.nodes[0].miner = Some(Address::ZERO.encode(Params::dev().hrp()));
        plan.write(&folder).unwrap();
        let (read, params) = Plan::read(&folder).unwrap().unwrap();
        assert_eq!((&read, params.name()), (&plan, "dev"));
        assert_eq!((read.miners(), read.nodes.len()), (1, 3));
    }

    #[test]
    fn a_file_that_describes_no_testnet_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path().to_owned());
        let good = r#"{"network": "dev", "topology": "ring",
            "nodes": [{"api": 1, "peers": 2, "miner": null}]}"#;
        let error = |from: &str, to: &str| {
            let text = good.replace(from, to);
            assert!(from.is_empty() || text != good, "{from}");
            fs::write(folder.plan(), text).unwrap();
            format!("{:#}", Plan::read(&folder).map(|_| ()).unwrap_err())
        };
        fs::write(folder.plan(), good).unwrap();
        assert!(Plan::read(&folder).unwrap().is_some());
        for (from, to, reason) in [
            ("{\"network", "x", "expected value"),
            ("\"ring\"", "\"knot\"", "unknown variant `knot`"),
            ("\"miner\"", "\"minor\"", "unknown field `minor`"),
            ("[{\"api\": 1, \"peers\": 2, \"miner\": null}]", "[]", "0 nodes"),
            ("\"api\": 1", "\"api\": 0", "port 0"),
            ("\"api\": 1", "\"api\": 2", "comes twice"),
            ("\"api\": 1", "\"api\": 65536", "invalid value"),
            ("\"dev\"", "\"../x\"", "no network \"../x\""),
            ("\"dev\"", "\"network.toml\"", "no network"),
            ("null", "\"nobody\"", "miner `nobody`"),
        ] {
            let message = error(from, to);
            assert!(message.contains("testnet.json") && message.contains(reason), "{message}");
        }
    }
}
