//! The node's identity key: generated at the first start, stored in the data directory, readable by
//! its owner only. Nodes of tests may have one that is derived from a seed.

use chain::store::keeps_modes;
use libp2p::PeerId;
use libp2p::identity::{DecodingError, Keypair};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name in the data directory.
const NAME: &str = "node.key";
/// Maximum size of a key file, in bytes.
const MAX_BYTES: u64 = 1 << 10;

/// An error that prevents the node's key from being loaded or created.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the node's key {}: {reason}", path.display())]
    Read {
        /// The path of the node's key file.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the node's key {}: {reason}", path.display())]
    Write {
        /// The path of the node's key file.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The path is a link, a directory or another special file. An attacker able to create one
    /// could replace the key.
    #[error("the node's key {} is not a regular file; put the key itself there", path.display())]
    NotRegularFile {
        /// The path that is not a regular file.
        path: PathBuf,
    },
    /// The file does not contain a key.
    #[error(
        "the node's key {} is damaged; restore it, or remove it to generate a new one: {reason}",
        path.display()
    )]
    Damaged {
        /// The path of the node's key file.
        path: PathBuf,
        /// The error of the decoder.
        reason: DecodingError,
    },
}

/// Checks the key in the data directory, if there is one.
pub(crate) fn check(data: &Path) -> Result<(), KeyError> {
    match fs::symlink_metadata(data.join(NAME)) {
        Ok(_) => open(data).map(drop),
        Err(_) => Ok(()),
    }
}

/// Reads the key in the data directory, or generates it if there is none.
pub(crate) fn open(data: &Path) -> Result<Keypair, KeyError> {
    let path = data.join(NAME);
    match fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_BYTES => {
            Err(KeyError::NotRegularFile { path })
        }
        Ok(metadata) => read(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => generate(data, path),
        Err(reason) => Err(KeyError::Read { path, reason }),
    }
}

/// The peer id of the node with a data directory, which must exist; generates its key if there is none.
///
/// # Errors
/// The key cannot be read or created.
pub fn peer_id(data: &Path) -> Result<PeerId, KeyError> {
    Ok(open(data)?.public().to_peer_id())
}

/// Creates the key of the node with a data directory, which must exist, from a secret of 32 bytes, unless the
/// node has a key. For networks whose nodes need no secret key of their own, such as those of tests.
///
/// # Errors
/// The key cannot be created.
pub fn create_key(data: &Path, mut secret: [u8; 32]) -> Result<(), KeyError> {
    let path = data.join(NAME);
    if fs::symlink_metadata(&path).is_ok() {
        return Ok(());
    }
    // Fails for other lengths only.
    let key = Keypair::ed25519_from_bytes(&mut secret)
        .map_err(|reason| KeyError::Damaged { path: path.clone(), reason })?;
    write(data, &path, &key).map_err(|reason| KeyError::Write { path, reason })
}

fn read(path: PathBuf, metadata: &fs::Metadata) -> Result<Keypair, KeyError> {
    let bytes = restrict_to_owner(&path, metadata).and_then(|()| fs::read(&path));
    match bytes {
        Ok(bytes) => Keypair::from_protobuf_encoding(&bytes)
            .map_err(|reason| KeyError::Damaged { path, reason }),
        Err(reason) => Err(KeyError::Read { path, reason }),
    }
}

/// Removes the permissions of other users, which a copy of the file may have.
#[cfg(unix)]
fn restrict_to_owner(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    // The node warns of that.
    if path.parent().is_some_and(|data| !keeps_modes(data)) {
        return Ok(());
    }
    tracing::warn!(file = %path.display(), "the node's key was accessible to other users: permissions set to 0600");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn restrict_to_owner(_path: &Path, _metadata: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

fn generate(data: &Path, path: PathBuf) -> Result<Keypair, KeyError> {
    let key = Keypair::generate_ed25519();
    match write(data, &path, &key) {
        Ok(()) => Ok(key),
        Err(reason) => Err(KeyError::Write { path, reason }),
    }
}

/// Writes the file atomically. Fails if it exists.
fn write(data: &Path, path: &Path, key: &Keypair) -> io::Result<()> {
    let bytes = key.to_protobuf_encoding().map_err(io::Error::other)?;
    // Temporary files are created with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    sync_directory(data)
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
