//! The links between the nodes of a testnet: their conditions, and partitions. All connections pass the
//! relay of the testnet, a process of its own; `links.json` has what differs from perfect links.

use super::directory::{self, Directory};
use super::manifest::{Link, Manifest};
use super::process::{self, Process};
use super::topology::NodeNumber;
use crate::json_file;
use crate::relay::control::{self, Control, Setup};
use crate::relay::{Conditions, Counters, Route, RouteStatus};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

/// File name of the log of the relay.
pub const LOG: &str = "relay.log";
/// Time limit of the start of the relay.
const START_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What differs from perfect links between all neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// The start value of the random numbers by which data is lost and delayed.
    pub seed: u64,
    /// The sides of a partition, which together are all nodes; none without a partition.
    pub sides: Vec<BTreeSet<NodeNumber>>,
    /// The conditions of directions that are not perfect.
    pub directions: Vec<Directed>,
}

/// The conditions from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directed {
    /// The sending node.
    pub from: NodeNumber,
    /// The receiving node.
    pub to: NodeNumber,
    /// The conditions of this direction.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// The state of one direction of a link.
#[derive(Debug, Serialize)]
pub struct LinkStatus {
    /// The direction and its conditions.
    #[serde(flatten)]
    pub directed: Directed,
    /// Whether a partition separates the nodes.
    pub is_partitioned: bool,
    /// The number of connections over the link, in either direction; 0 if the relay does not run.
    pub connections: usize,
    /// The counters since the start of the relay.
    #[serde(flatten)]
    pub counters: Counters,
}

impl Links {
    /// Reads the links of a testnet.
    pub fn read(directory: &Directory) -> Result<Links> {
        let path = directory.links();
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Links::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not of this version", path.display())),
        }
    }

    /// Writes the links of a testnet atomically.
    pub fn write(&self, directory: &Directory) -> Result<()> {
        json_file::write(&directory.links(), self)
    }

    /// Replaces the conditions from each of some nodes to each of others.
    pub fn set(&mut self, from: &[NodeNumber], to: &[NodeNumber], conditions: Conditions) {
        let is_set = |one: &Directed| from.contains(&one.from) && to.contains(&one.to);
        self.directions.retain(|one| !is_set(one));
        if conditions.is_perfect() {
            return;
        }
        for from in from.iter().copied() {
            let to = to.iter().copied().filter(|to| *to != from);
            self.directions.extend(to.map(|to| Directed { from, to, conditions }));
        }
    }

    /// The conditions from one node to another.
    pub fn conditions(&self, from: NodeNumber, to: NodeNumber) -> Conditions {
        let found = self.directions.iter().find(|one| (one.from, one.to) == (from, to));
        found.map(|one| one.conditions).unwrap_or_default()
    }

    /// Separates the nodes of each side from all others; those of no side form one more.
    pub fn partition(
        &mut self,
        sides: Vec<BTreeSet<NodeNumber>>,
        manifest: &Manifest,
    ) -> Result<()> {
        let mut rest: BTreeSet<NodeNumber> = manifest.numbers().collect();
        for side in &sides {
            for number in side {
                ensure!(rest.remove(number), "{number} is on two sides: name each node once");
            }
        }
        self.sides = sides;
        if !rest.is_empty() {
            self.sides.push(rest);
        }
        ensure!(self.sides.len() > 1, "these are all nodes: name only those of one side");
        Ok(())
    }

    /// Ends the partition and all cuts; other conditions remain.
    pub fn heal(&mut self) {
        self.sides.clear();
        for one in &mut self.directions {
            one.conditions.is_cut = false;
        }
        self.directions.retain(|one| !one.conditions.is_perfect());
    }

    /// Whether a partition separates two nodes. A node that was added later is on the last side.
    pub fn are_separated(&self, one: NodeNumber, other: NodeNumber) -> bool {
        let side = |number| self.sides.iter().position(|side| side.contains(&number));
        let last = self.sides.len().saturating_sub(1);
        side(one).unwrap_or(last) != side(other).unwrap_or(last)
    }

    /// Whether two nodes can connect: neither a partition nor a cut is between them.
    pub fn are_connectable(&self, one: NodeNumber, other: NodeNumber) -> bool {
        !self.are_separated(one, other)
            && !self.conditions(one, other).is_cut
            && !self.conditions(other, one).is_cut
    }

    /// The routes of the relay: one for each pair of neighbours, and one for each node by which others
    /// join the testnet.
    fn setup(&self, manifest: &Manifest) -> Setup {
        let perfect = Conditions::default();
        let links = manifest.links.iter().map(|link| Route {
            port: link.port,
            target: manifest.node(link.listener).listen,
            forward: self.conditions(link.dialer, link.listener),
            backward: self.conditions(link.listener, link.dialer),
            is_closed: self.are_separated(link.dialer, link.listener),
        });
        let entries = manifest.nodes.iter().map(|node| Route {
            port: node.peers,
            target: node.listen,
            forward: perfect,
            backward: perfect,
            is_closed: false,
        });
        Setup { seed: self.seed, routes: links.chain(entries).collect() }
    }

    /// The state of both directions of every link, with the counters of a relay if it runs.
    pub fn status(&self, relay: Option<&Control>, manifest: &Manifest) -> Result<Vec<LinkStatus>> {
        let routes = match relay {
            Some(control) => control.status()?,
            None => Vec::new(),
        };
        let by_port: BTreeMap<u16, RouteStatus> =
            routes.into_iter().map(|route| (route.port, route)).collect();
        let status = |link: &Link| {
            let route = by_port.get(&link.port);
            let of = |from, to, counters: Option<Counters>| LinkStatus {
                directed: Directed { from, to, conditions: self.conditions(from, to) },
                is_partitioned: self.are_separated(from, to),
                connections: route.map_or(0, |route| route.connections),
                counters: counters.unwrap_or_default(),
            };
            [
                of(link.dialer, link.listener, route.map(|route| route.forward)),
                of(link.listener, link.dialer, route.map(|route| route.backward)),
            ]
        };
        Ok(manifest.links.iter().flat_map(status).collect())
    }
}

/// The control of the relay of a testnet; `None` if it does not run or is still starting.
pub fn running(directory: &Directory) -> Result<Option<Control>> {
    match Process::find(&directory.relay())? {
        Some(process) => Control::open(&directory.relay(), process.id()),
        None => Ok(None),
    }
}

/// Whether the relay of a testnet runs.
pub fn is_running(directory: &Directory) -> Result<bool> {
    Ok(Process::find(&directory.relay())?.is_some())
}

/// Passes the links to the relay, which is started if it does not run.
pub fn apply(directory: &Directory, manifest: &Manifest, links: &Links) -> Result<()> {
    let (relay, setup) = (directory.relay(), links.setup(manifest));
    if let Some(control) = running(directory)? {
        return control.set_routes(&relay, &setup);
    }
    directory::create_private(&relay)?;
    control::write_setup(&relay, &setup)?;
    let arguments = ["testnet".into(), "relay".into(), relay.clone().into_os_string()];
    let program = process::this_program()?.into_os_string();
    let mut child = process::start(&relay, LOG, &[&[program][..], &arguments].concat())?;
    let start = Instant::now();
    while running(directory)?.is_none() {
        if child.try_wait()?.is_some() {
            let lines = process::last_log_lines(&relay.join(LOG));
            bail!("the relay ended at its start: {lines}");
        }
        let seconds = START_LIMIT.as_secs();
        ensure!(start.elapsed() < START_LIMIT, "the relay does not respond after {seconds} s");
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::topology::Topology;
    use super::*;

    fn number(name: &str) -> NodeNumber {
        NodeNumber::parse(name).unwrap()
    }

    fn numbers(names: &str) -> Vec<NodeNumber> {
        names.split(',').map(number).collect()
    }

    fn side(names: &str) -> BTreeSet<NodeNumber> {
        numbers(names).into_iter().collect()
    }

    fn manifest(count: usize) -> Manifest {
        let mut manifest = Manifest::new("dev".to_owned(), Topology::Ring);
        manifest.add_nodes(count).unwrap();
        manifest
    }

    const SLOW: Conditions =
        Conditions { latency_ms: 300, jitter_ms: 0, loss: 0.0, bandwidth: None, is_cut: false };

    #[test]
    fn conditions_hold_for_one_direction_until_replaced() {
        let mut links = Links::default();
        links.set(&numbers("1,2"), &numbers("2,3"), SLOW);
        assert_eq!(links.directions.len(), 3);
        assert_eq!(links.conditions(number("1"), number("3")), SLOW);
        assert!(links.conditions(number("3"), number("1")).is_perfect());
        let cut = Conditions { is_cut: true, ..SLOW };
        links.set(&numbers("1"), &numbers("3"), cut);
        assert_eq!(links.conditions(number("1"), number("3")), cut);
        assert!(!links.are_connectable(number("3"), number("1")));
        links.heal();
        assert_eq!(links.conditions(number("1"), number("3")), SLOW);
        links.set(&numbers("1,2,3"), &numbers("1,2,3"), Conditions::default());
        assert_eq!(links, Links::default());
    }

    #[test]
    fn partition_separates_sides_and_the_rest() {
        let mut links = Links::default();
        let manifest = manifest(5);
        links.partition(vec![side("1,2"), side("3")], &manifest).unwrap();
        assert_eq!(links.sides, [side("1,2"), side("3"), side("4,5")]);
        let separated = |one, other| links.are_separated(number(one), number(other));
        assert!(!separated("1", "2") && !separated("4", "5"));
        assert!(separated("1", "3") && separated("3", "4"));
        assert!(!separated("4", "6"), "a node added later is on the last side");
        let error = |sides| Links::default().partition(sides, &manifest).unwrap_err().to_string();
        assert!(error(vec![side("1"), side("1,2")]).contains("node-1 is on two sides"));
        assert!(error(vec![side("1,2,3,4,5")]).contains("only those of one side"));
    }

    #[test]
    fn every_connection_has_a_route_with_the_conditions_of_its_direction() {
        let manifest = manifest(3);
        let mut links = Links::default();
        links.set(&numbers("1"), &numbers("2"), SLOW);
        links.partition(vec![side("3")], &manifest).unwrap();
        let routes = links.setup(&manifest).routes;
        assert_eq!(routes.len(), 3 + 3, "three neighbours, three entries");
        let link = |dialer, listener| {
            let is_it =
                |link: &&Link| (link.dialer, link.listener) == (number(dialer), number(listener));
            let port = manifest.links.iter().find(is_it).unwrap().port;
            routes.iter().find(|route| route.port == port).unwrap()
        };
        let first = link("2", "1");
        assert_eq!((first.backward, first.forward), (SLOW, Conditions::default()));
        assert_eq!(first.target, manifest.nodes[0].listen);
        assert!(!first.is_closed && link("3", "2").is_closed && link("3", "1").is_closed);
        assert!(routes.iter().filter(|route| route.is_closed).count() == 2);
    }

    #[test]
    fn links_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::at(dir.path().to_owned());
        assert_eq!(Links::read(&directory).unwrap(), Links::default());
        let mut links = Links { seed: 7, ..Links::default() };
        links.set(&numbers("1"), &numbers("2"), SLOW);
        links.partition(vec![side("2")], &manifest(3)).unwrap();
        links.write(&directory).unwrap();
        assert_eq!(Links::read(&directory).unwrap(), links);
        fs::write(directory.links(), r#"{"seed": 7, "sides": [[0]], "directions": []}"#).unwrap();
        assert!(Links::read(&directory).is_err());
    }
}
