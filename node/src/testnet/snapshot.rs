//! Snapshots of a testnet: copies of all that its nodes have stored, taken while they are paused. A return
//! ends all processes before it replaces their files, so that no node learns of later blocks from another.

use super::directory::{Directory, DirectoryLock, NETWORK_FILE};
use super::manifest::Manifest;
use super::process::Process;
use super::topology::NodeNumber;
use super::wait::{self, StartingNode};
use super::{Testnet, directory};
use crate::json_file;
use crate::snapshot::{Copier, DESCRIPTION, Name, Size, VERSION, remove};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time limit until the system has stopped the execution of all threads of a node.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// The description of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The version of the format.
    pub version: u32,
    /// The time of the snapshot, Unix seconds.
    pub created: u64,
    /// The state of each node's process, by number.
    pub nodes: BTreeMap<usize, ProcessState>,
    /// The files beside this description.
    pub size: Size,
}

/// The state of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// The node ran.
    Running,
    /// The node was paused.
    Paused,
    /// The node did not run.
    Stopped,
}

/// A snapshot in a list.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The name.
    pub name: Name,
    /// The description.
    #[serde(flatten)]
    pub description: Description,
}

impl Description {
    /// Reads the description of a snapshot.
    pub fn read(snapshot: &Path) -> Result<Description> {
        let path = snapshot.join(DESCRIPTION);
        let context = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(&path).with_context(context)?;
        let description: Description = serde_json::from_str(&text).with_context(context)?;
        let version = description.version;
        ensure!(version == VERSION, "{} has version {version}, not {VERSION}", path.display());
        Ok(description)
    }

    /// Reads the description of a snapshot, and checks that all of its files are there.
    pub fn check(snapshot: &Path) -> Result<Description> {
        let description = Description::read(snapshot)?;
        let mut expected = description.size;
        expected.add(fs::metadata(snapshot.join(DESCRIPTION))?.len());
        ensure!(
            Size::of(snapshot)? == expected,
            "files of the snapshot in {} are missing: remove it",
            snapshot.display()
        );
        Ok(description)
    }
}

impl Description {
    /// Writes the description of a snapshot, whose other files are complete.
    fn write(mut self, snapshot: &Path) -> Result<Description> {
        remove(&snapshot.join(DESCRIPTION))?;
        self.size = Size::of(snapshot)?;
        json_file::write(&snapshot.join(DESCRIPTION), &self)?;
        Ok(self)
    }

    /// Replaces the manifest of a snapshot.
    pub fn write_with(self, manifest: &Manifest, snapshot: &Directory) -> Result<()> {
        manifest.write(snapshot)?;
        self.write(snapshot.path()).map(drop)
    }
}

/// Nodes whose processes are paused until this is dropped.
struct Paused(Vec<(NodeNumber, Process)>);

impl Paused {
    /// Pauses processes, and waits until none of their threads runs.
    fn new(processes: Vec<(NodeNumber, Process)>) -> Result<Paused> {
        let paused = Paused(processes);
        for (number, process) in &paused.0 {
            process.pause().with_context(|| number.to_string())?;
        }
        let start = Instant::now();
        for (number, process) in &paused.0 {
            while !process.is_halted() {
                ensure!(start.elapsed() < PAUSE_LIMIT, "{number} cannot be paused");
                thread::sleep(POLL);
            }
        }
        Ok(paused)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for (_, process) in &self.0 {
            // One that has ended needs nothing.
            let _ = process.resume();
        }
    }
}

/// All snapshots of a directory, sorted by name.
pub fn list(directory: &Directory) -> Result<Vec<Listed>> {
    let store = directory.snapshots();
    let names = store.names()?.into_iter();
    let listed = names.map(|name| {
        let description = Description::read(&store.find(&name)?)?;
        Ok(Listed { name, description })
    });
    listed.collect()
}

/// Takes a snapshot. Running nodes are paused meanwhile, and keep their connections.
pub fn take(testnet: &Testnet, name: &Name, copier: &Copier) -> Result<Description> {
    let (manifest, directory) = (testnet.manifest(), testnet.directory());
    directory.check_complete()?;
    for number in manifest.numbers() {
        ensure!(
            manifest.node(number).disk_mb.is_none(),
            "{number} has a disk of its own, which a snapshot does not contain"
        );
    }
    directory.snapshots().create(name, |to| {
        let all: Vec<NodeNumber> = manifest.numbers().collect();
        let processes = testnet.processes(&all)?;
        let mut nodes: BTreeMap<usize, ProcessState> =
            all.iter().map(|number| (usize::from(*number), ProcessState::Stopped)).collect();
        for (number, process) in &processes {
            let state = match process.is_paused() {
                true => ProcessState::Paused,
                false => ProcessState::Running,
            };
            nodes.insert(usize::from(*number), state);
        }
        let running = processes.into_iter().filter(|(_, process)| !process.is_paused());
        let paused = Paused::new(running.collect())?;
        copy(directory, manifest, to, copier)?;
        drop(paused);
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Description { version: VERSION, created, nodes, size: Size::default() }.write(to)
    })
}

/// Copies the files of a testnet whose nodes are paused.
fn copy(directory: &Directory, manifest: &Manifest, to: &Path, copier: &Copier) -> Result<()> {
    let to = Directory::at(to.to_owned());
    for number in manifest.numbers() {
        let (from, to) = (directory.node(number), to.node(number));
        directory::create_private(&to)?;
        copier.copy_data(&from, &to)?;
    }
    copy_shared(directory, &to, copier)
}

/// Replaces the files that all nodes share by those of another directory, some of which may not exist.
fn copy_shared(from: &Directory, to: &Directory, copier: &Copier) -> Result<()> {
    let files = |directory: &Directory| {
        let network = directory.path().join(NETWORK_FILE);
        [network, directory.wallets(), directory.links(), directory.manifest()]
    };
    for (from, to) in files(from).into_iter().zip(files(to)) {
        remove(&to)?;
        if from.exists() {
            copier.copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Replaces the testnet by a snapshot of it, and starts the nodes that ran then. If it is interrupted, nodes
/// do not start until it is repeated.
pub async fn revert(
    lock: &DirectoryLock,
    name: &Name,
    copier: &Copier,
) -> Result<(Testnet, Vec<StartingNode>)> {
    let directory = lock.directory();
    let store = directory.snapshots();
    let snapshot = store.find(name)?;
    let description = Description::check(&snapshot)?;
    let source = Directory::at(snapshot.clone());
    let (manifest, _) = Manifest::read(&source)?.context("the snapshot has no manifest")?;
    store.returns_to(name)?;
    // Their files are replaced, so they need not be closed.
    wait::kill(lock.processes()?, |_, _| Ok(())).await?;
    if let Some(relay) = Process::find(&directory.relay())? {
        wait::kill(vec![("relay", relay)], |_, _| Ok(())).await?;
    }
    for number in directory.nodes()? {
        if number.index() >= manifest.nodes.len() {
            remove(&directory.node(number))?;
        }
    }
    for number in manifest.numbers() {
        copier.restore_data(&source.node(number), &directory.node(number))?;
    }
    copy_shared(&source, directory, copier)?;
    store.has_returned()?;
    let mut testnet = Testnet::read(directory)?;
    let with = |states: &[ProcessState]| -> Vec<NodeNumber> {
        let is_one = |number: &NodeNumber| {
            let state = description.nodes.get(&usize::from(*number));
            state.is_some_and(|state| states.contains(state))
        };
        manifest.numbers().filter(is_one).collect()
    };
    let started = testnet.start(lock, &with(&[ProcessState::Running, ProcessState::Paused]))?;
    Ok((testnet, started))
}

/// Pauses the nodes of a testnet that were paused at the time of a snapshot.
pub fn pause(testnet: &Testnet, name: &Name) -> Result<()> {
    let description = Description::read(&testnet.directory().snapshots().find(name)?)?;
    let is_paused = |number: &NodeNumber| {
        description.nodes.get(&usize::from(*number)) == Some(&ProcessState::Paused)
    };
    let paused: Vec<NodeNumber> = testnet.manifest().numbers().filter(is_paused).collect();
    testnet.processes(&paused)?.iter().try_for_each(|(_, process)| process.pause())
}

/// Requests a copy to end, as soon as possible.
pub fn cancel(copier: &Copier) {
    copier.is_cancelled.store(true, Ordering::Relaxed);
}
