//! `chain testnet snapshot`, `revert`, `export` and `import`: copies of a whole testnet, and the return to
//! them.

use super::args::{lock, lock_testnet, notice};
use crate::cli::node::{block_on, stop_signal};
use crate::cli::output::{Table, ago};
use crate::snapshot::{Copier, Name};
use crate::testnet::archive;
use crate::testnet::snapshot::{self, Listed};
use crate::testnet::{Directory, Testnet};
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Snapshot(Snapshot),
    Export(Export),
    Import(Import),
}

/// Take a snapshot of the testnet, to which `revert` returns
///
/// Contains what the nodes have stored: chains, mempools, clocks, jobs and events; the network, the links
/// and the wallet of the miners; and which nodes run. Nodes are paused for a moment meanwhile.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  chain testnet snapshot funded\n  chain testnet revert funded\n  \
    chain testnet snapshot --list\n  chain testnet snapshot --remove funded"
)]
pub struct Snapshot {
    /// Name of the snapshot
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "remove"])]
    name: Option<Name>,
    /// Print all snapshots
    #[arg(long, conflicts_with_all = ["name", "remove"])]
    list: bool,
    /// Remove a snapshot
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    remove: Option<Name>,
}

/// Return the testnet to a snapshot
///
/// All processes end, their files are replaced, and the nodes that ran at the time of the snapshot start
/// again, at the same ports. What happened since is lost. Nodes that were added are removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  chain testnet snapshot funded\n  chain testnet revert funded")]
pub struct Revert {
    /// Name of the snapshot; `snapshot --list` prints all
    #[arg(value_name = "NAME")]
    pub name: Name,
}

/// Write a snapshot to an archive (tar), for another directory or machine
///
/// The archive contains the keys of the nodes and the wallet of the miners, without a password.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  chain testnet export funded --output funded.tar")]
pub struct Export {
    /// Name of the snapshot
    #[arg(value_name = "NAME")]
    name: Name,
    /// File to write, which must not exist [default: NAME.tar]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Read a snapshot from an archive that `export` has written; `revert` then starts its nodes
///
/// Creates the testnet if there is none. Import archives of people you trust only: nodes do not
/// validate the blocks again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  chain testnet --dir copy import funded.tar\n  \
    chain testnet --dir copy revert funded")]
pub struct Import {
    /// Archive to read; `.tar` may be left out
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the snapshot [default: that of the file]
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
}

impl Command {
    pub fn run(self, directory: &Directory, json: bool) -> Result<()> {
        match self {
            Command::Snapshot(Snapshot { name: Some(name), .. }) => take(directory, name, json),
            Command::Snapshot(Snapshot { remove: Some(name), .. }) => {
                let (lock, _testnet) = lock_testnet(directory)?;
                lock.directory().snapshots().remove(&name)?;
                notice(&format!("snapshot `{name}` removed"));
                Ok(())
            }
            Command::Snapshot(_) => print(&snapshot::list(directory)?, json),
            Command::Export(export) => export.run(directory),
            Command::Import(import) => import.run(directory),
        }
    }
}

fn take(directory: &Directory, name: Name, json: bool) -> Result<()> {
    let (_lock, testnet) = lock_testnet(directory)?;
    let taken = {
        let name = name.clone();
        interruptible(move |copier| snapshot::take(&testnet, &name, copier))?
    };
    notice(&format!("snapshot `{name}` taken: return to it with `chain testnet revert {name}`"));
    if json {
        let taken = Listed { name, description: taken };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&taken)?)?;
    }
    Ok(())
}

/// Runs a copy on another thread, and cancels it on a signal: the process ends once it has cleaned up.
fn interruptible<T: Send + 'static>(
    copy: impl FnOnce(&Copier) -> Result<T> + Send + 'static,
) -> Result<T> {
    let copier = Arc::<Copier>::default();
    block_on(async {
        let stop = stop_signal()?;
        let copying = Arc::clone(&copier);
        let mut copy = tokio::task::spawn_blocking(move || copy(&copying));
        tokio::select! {
            copied = &mut copy => copied?,
            () = stop => {
                snapshot::cancel(&copier);
                copy.await?
            }
        }
    })
}

fn print(listed: &[Listed], json: bool) -> Result<()> {
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(listed)?)?;
        return Ok(());
    }
    let rows = listed.iter().map(|Listed { name, description }| {
        let size = format!("{} KiB", description.size.bytes.div_ceil(1_024));
        [name.to_string(), ago(description.created), description.nodes.len().to_string(), size]
    });
    let table = Table::new(["snapshot", "taken", "nodes", "size"]);
    rows.fold(table, Table::row).print("no snapshots")?;
    Ok(())
}

impl Export {
    fn run(self, directory: &Directory) -> Result<()> {
        let Export { name, output } = self;
        Testnet::read(directory)?;
        let lock = lock(directory)?;
        let output = output.unwrap_or_else(|| PathBuf::from(format!("{name}.tar")));
        let snapshot = lock.directory().snapshots().find(&name)?;
        let file = output.clone();
        interruptible(move |copier| archive::export(&snapshot, &file, copier))?;
        notice(&format!(
            "snapshot `{name}` exported to {}, with the keys of its nodes and miners",
            output.display()
        ));
        Ok(())
    }
}

impl Import {
    fn run(self, directory: &Directory) -> Result<()> {
        let Import { file, name } = self;
        let with_extension = file.with_added_extension("tar");
        let file = if file.is_file() || !with_extension.is_file() { file } else { with_extension };
        let name = name.map_or_else(
            || {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                stem.parse().context("name the snapshot with --name")
            },
            Ok,
        )?;
        let lock = lock(directory)?;
        let (from, to) = (file.clone(), name.clone());
        interruptible(move |copier| archive::import(&lock, &to, &from, copier))?;
        notice(&format!("snapshot `{name}` imported: start it with `chain testnet revert {name}`"));
        Ok(())
    }
}
