//! A small disk for the block log of a node, to be filled by a scenario. It is mounted in a namespace of
//! the node's own, which Linux permits ordinary users.

use super::directory::Directory;
use super::manifest::Manifest;
use super::process::Process;
use super::topology::NodeNumber;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts a disk of a size in MiB on a directory, and executes a program that has it.
const SCRIPT: &str =
    r#"mount -t tmpfs -o "size=$1m" tmpfs "$2" && cd "$3" && shift 3 && exec "$@""#;
/// File that occupies the disk.
const BALLAST: &str = "ballast";

/// The command line of a program that has a disk of its own, of a size in MiB, for the block log in
/// a data directory.
pub fn with_disk(data: &Path, size: u32, program: Vec<OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = namespace("sh");
    words.extend(["-c".into(), SCRIPT.into(), "sh".into(), size.to_string().into()]);
    words.extend([block_log(data).into(), data.into()]);
    words.extend(program);
    words
}

fn namespace(program: &str) -> Vec<OsString> {
    ["unshare", "--map-root-user", "--mount", program].map(OsString::from).to_vec()
}

/// The directory of a node's block log.
pub fn block_log(data: &Path) -> PathBuf {
    data.join("blocks")
}

/// Whether nodes can have disks of their own on this machine.
pub fn check() -> Result<()> {
    let words = namespace("true");
    let output = Command::new(&words[0]).args(&words[1..]).output();
    ensure!(
        output.is_ok_and(|output| output.status.success()),
        "nodes cannot have disks of their own: this system has no `unshare --mount` for this user"
    );
    Ok(())
}

/// Fills the disk of a running node.
pub fn fill(directory: &Directory, manifest: &Manifest, number: NodeNumber) -> Result<()> {
    let path = ballast(directory, manifest, number)?;
    let context = || format!("cannot write {}", path.display());
    let mut file = File::create(&path).with_context(context)?;
    for length in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; length]).is_ok() {}
    }
    Ok(())
}

/// Makes room on the disk of a running node.
pub fn free(directory: &Directory, manifest: &Manifest, number: NodeNumber) -> Result<()> {
    let path = ballast(directory, manifest, number)?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// The path of the file on the disk, as processes outside its namespace see it.
fn ballast(directory: &Directory, manifest: &Manifest, number: NodeNumber) -> Result<PathBuf> {
    // Filling any other disk would affect the whole machine.
    ensure!(manifest.node(number).disk_mb.is_some(), "{number} has no disk of its own");
    let data = directory.node(number);
    let process = Process::find(&data)?.with_context(|| format!("{number} does not run"))?;
    let inside = data.strip_prefix("/").unwrap_or(&data);
    let root = Path::new("/proc").join(process.id().to_string()).join("root");
    Ok(block_log(&root.join(inside)).join(BALLAST))
}
