//! Snapshots of testnets as archives: tar files without links, owners and modes. What an archive contains
//! is checked before it becomes a snapshot.

use super::directory::{Directory, DirectoryLock, NETWORK_FILE, create_private};
use super::manifest::Manifest;
use super::snapshot::Description;
use super::topology::NodeNumber;
use crate::config::network;
use crate::snapshot::{Copier, Name, entries};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;
use tar::{Archive, Builder, Entry, EntryType, Header};

/// Files beside the directories of nodes.
const FILES: [&str; 4] = ["snapshot.json", "testnet.json", "links.json", NETWORK_FILE];
/// Directory beside those of nodes.
const WALLETS: &str = "wallets";
/// Most components of a path.
const MAX_DEPTH: usize = 8;

/// Writes a snapshot to an archive, which must not exist.
pub fn export(snapshot: &Path, output: &Path, copier: &Copier) -> Result<()> {
    let description = Description::check(snapshot)?;
    let context = || format!("cannot write {}", output.display());
    ensure!(!output.exists(), "{} exists: name another file with --output", output.display());
    let parent = match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Readable by its owner only, and absent unless it is complete.
    let file = tempfile::NamedTempFile::new_in(parent).with_context(context)?;
    let mut builder = Builder::new(BufWriter::new(file));
    append(&mut builder, snapshot, Path::new(""), description.created, copier)
        .with_context(context)?;
    let writer = builder.into_inner().with_context(context)?;
    let file = writer.into_inner().with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist_noclobber(output).with_context(context)?;
    Ok(())
}

/// Appends the files of a directory, each with the time of the snapshot.
fn append(
    builder: &mut Builder<impl io::Write>,
    directory: &Path,
    below: &Path,
    created: u64,
    copier: &Copier,
) -> Result<()> {
    for (name, path) in entries(directory)? {
        ensure!(!copier.is_cancelled.load(Ordering::Relaxed), "interrupted");
        let inside = below.join(name);
        if path.is_dir() {
            append(builder, &path, &inside, created, copier)?;
            continue;
        }
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(file.metadata()?.len());
        header.set_mode(0o600);
        header.set_mtime(created);
        builder.append_data(&mut header, &inside, file)?;
    }
    Ok(())
}

/// Creates a snapshot from an archive. The programs of nodes are not adopted: every node runs this one.
pub fn import(lock: &DirectoryLock, name: &Name, file: &Path, copier: &Copier) -> Result<()> {
    let directory = lock.directory();
    let context = || format!("cannot import {}", file.display());
    let archive = File::open(file).with_context(context)?;
    directory.snapshots().create(name, |to| {
        unpack(BufReader::new(archive), to, copier)
            .and_then(|()| check(directory, to))
            .with_context(context)
    })
}

fn unpack(archive: impl Read, to: &Path, copier: &Copier) -> Result<()> {
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        ensure!(!copier.is_cancelled.load(Ordering::Relaxed), "interrupted");
        let mut entry = entry.context("it is not an archive of `chain testnet export`")?;
        let path = inside(&entry)?;
        match entry.header().entry_type() {
            EntryType::Directory => continue,
            EntryType::Regular => {}
            _ => bail!("`{}` is not a regular file", path.display()),
        }
        let target = to.join(&path);
        create_private(target.parent().context("it has a file without a name")?)?;
        // Twice the same path is an error.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        let expected = entry.header().size()?;
        let copied = io::copy(&mut entry, &mut file)?;
        ensure!(copied == expected, "it ends in the middle of `{}`", path.display());
    }
    Ok(())
}

/// The path of an entry, which is one of those that a snapshot has.
fn inside<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf> {
    let path = entry.path()?.into_owned();
    let components: Vec<&str> = path
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()
        .unwrap_or_default();
    let is_file = entry.header().entry_type() != EntryType::Directory;
    let is_known = match components[..] {
        [name] => FILES.contains(&name) || (!is_file && is_directory(name)),
        [name, ..] => is_directory(name) && components.len() <= MAX_DEPTH,
        [] => false,
    };
    ensure!(is_known, "`{}` does not belong to a snapshot of a testnet", path.display());
    Ok(path)
}

/// Whether a snapshot may have a directory of this name.
fn is_directory(name: &str) -> bool {
    let node = NodeNumber::parse(name).filter(|number| number.to_string() == name);
    name == WALLETS || node.is_some()
}

/// Checks a snapshot before it is listed.
fn check(directory: &Directory, snapshot: &Path) -> Result<()> {
    let description = Description::check(snapshot)?;
    let source = Directory::at(snapshot.to_owned());
    let (mut manifest, params) = Manifest::read(&source)?.context("it has no manifest")?;
    let nodes: Vec<usize> = description.nodes.keys().copied().collect();
    let expected: Vec<usize> = manifest.numbers().map(usize::from).collect();
    ensure!(nodes == expected, "its manifest and its description have different nodes");
    ensure!(
        source.nodes()?.iter().all(|number| number.index() < manifest.nodes.len()),
        "it has files of nodes that its manifest lacks"
    );
    for number in manifest.numbers() {
        let data = source.node(number);
        ensure!(!data.exists() || network::is_data(&data), "{number} has no chain");
        if network::is_data(&data) {
            let text = fs::read_to_string(data.join("genesis"))?;
            ensure!(
                text.trim() == params.genesis_hash().to_string(),
                "the chain of {number} is of another network"
            );
        }
        let node = &mut manifest.nodes[number.index()];
        ensure!(node.disk_mb.is_none(), "{number} has a disk of its own");
        node.binary = None;
    }
    if let Some((_, current)) = Manifest::read(directory)? {
        ensure!(
            current.genesis_hash() == params.genesis_hash(),
            "the testnet in {} is of another network: import into another --dir",
            directory.path().display()
        );
    }
    description.write_with(&manifest, &source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::{Options, Testnet, snapshot};

    /// A directory with a testnet of two nodes that have not run, and a snapshot of it as an archive.
    fn exported(dir: &Path) -> (DirectoryLock, PathBuf) {
        let lock = Directory::at(dir.join("t")).lock(|| ()).unwrap();
        let options =
            Options { nodes: Some(2), network: Some("dev".to_owned()), ..Options::default() };
        let mut testnet = Testnet::open_or_create(&lock, &options).unwrap();
        let first = testnet.manifest().numbers().next().unwrap();
        let binary = std::env::current_exe().unwrap();
        testnet.set_binary(first, Some(binary)).unwrap();
        let data = lock.directory().node(first);
        create_private(&data).unwrap();
        let genesis = testnet.params().genesis_hash().to_string();
        fs::write(data.join("genesis"), genesis).unwrap();
        let name: Name = "a".parse().unwrap();
        snapshot::take(&testnet, &name, &Copier::default()).unwrap();
        let archive = dir.join("a.tar");
        let path = lock.directory().snapshots().find(&name).unwrap();
        export(&path, &archive, &Copier::default()).unwrap();
        (lock, archive)
    }

    fn import_into(dir: &Path, archive: &Path) -> Result<Directory> {
        let lock = Directory::at(dir.to_owned()).lock(|| ()).unwrap();
        import(&lock, &"b".parse().unwrap(), archive, &Copier::default())?;
        Ok(lock.directory().clone())
    }

    #[test]
    fn archive_becomes_the_snapshot_that_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, archive) = exported(dir.path());
        let imported = import_into(&dir.path().join("other"), &archive).unwrap();
        let [old, new] = [lock.directory(), &imported].map(|it| snapshot::list(it).unwrap());
        assert_eq!(new[0].name.to_string(), "b");
        assert_eq!(new[0].description.created, old[0].description.created);
        assert_eq!(new[0].description.nodes, old[0].description.nodes);
        let path = imported.snapshots().find(&new[0].name).unwrap();
        Description::check(&path).unwrap();
        // A program that is named by an archive is not executed.
        let (manifest, _) = Manifest::read(&Directory::at(path)).unwrap().unwrap();
        assert!(manifest.nodes.iter().all(|node| node.binary.is_none()));
        assert!(export(&dir.path().join("t/snapshots/a"), &archive, &Copier::default()).is_err());
    }

    fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = Header::new_gnu();
            // The builder would reject such paths.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            if kind.is_symlink() {
                header.set_link_name("/etc").unwrap();
            }
            header.set_size(text.len() as u64);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn archive_with_other_files_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let regular = EntryType::Regular;
        for (entries, reason) in [
            (vec![("../x", regular, "")], "does not belong"),
            (vec![("/etc/x", regular, "")], "does not belong"),
            (vec![("node-1/../../x", regular, "")], "does not belong"),
            (vec![("node-01/x", regular, "")], "does not belong"),
            (vec![("snapshots/x", regular, "")], "does not belong"),
            (vec![("node-1/a/a/a/a/a/a/a/a", regular, "")], "does not belong"),
            (vec![("node-1", EntryType::Symlink, "")], "does not belong"),
            (vec![("node-1/x", EntryType::Symlink, "")], "is not a regular file"),
            (vec![("node-1/x", EntryType::Link, "")], "is not a regular file"),
            (vec![("node-1/x", EntryType::Char, "")], "is not a regular file"),
            (vec![("node-1/x", regular, "1"), ("node-1/x", regular, "2")], "File exists"),
            (vec![("node-1/x", regular, "")], "snapshot.json"),
            (vec![("snapshot.json", regular, "{}")], "snapshot.json"),
        ] {
            let path = dir.path().join("x.tar");
            fs::write(&path, tar(&entries)).unwrap();
            let error = format!("{:#}", import_into(&dir.path().join("t"), &path).unwrap_err());
            assert!(error.contains(reason), "{entries:?}: {error}");
        }
        assert!(!dir.path().join("x").exists() && !dir.path().join("t/x").exists());
        assert!(snapshot::list(&Directory::at(dir.path().join("t"))).unwrap().is_empty());
    }

    #[test]
    fn damaged_archive_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let (_lock, archive) = exported(dir.path());
        let whole = fs::read(&archive).unwrap();
        let other = dir.path().join("other");
        for length in [0, 100, 512, whole.len() / 2] {
            fs::write(&archive, &whole[..length]).unwrap();
            assert!(import_into(&other, &archive).is_err(), "{length} bytes");
        }
        fs::write(&archive, whole).unwrap();
        import_into(&other, &archive).unwrap();
    }

    #[test]
    fn archive_of_another_network_is_rejected_where_a_testnet_is() {
        let dir = tempfile::tempdir().unwrap();
        let (_lock, archive) = exported(dir.path());
        let other = Directory::at(dir.path().join("other"));
        let lock = other.lock(|| ()).unwrap();
        let options = Options { network: Some("main".to_owned()), ..Options::default() };
        Testnet::open_or_create(&lock, &options).unwrap();
        drop(lock);
        let error = format!("{:#}", import_into(&dir.path().join("other"), &archive).unwrap_err());
        assert!(error.contains("of another network: import into another --dir"), "{error}");
    }
}
