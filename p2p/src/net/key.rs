//! The node's key, which is its identity: made once, kept in the data folder, readable by its
//! owner only.

use libp2p::identity::{DecodingError, Keypair};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name in the data folder.
const NAME: &str = "node.key";
/// A file of more bytes holds no key.
const MAX_BYTES: u64 = 1 << 10;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the node's key {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the node's key {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is a link, a folder or something else; who can place that could replace the key.
    #[error("the node's key {} is not a plain file; put the key itself there", path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error(
        "the node's key {} is damaged; restore it, or remove it to make a new one: {source}",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DecodingError,
    },
}

/// Reads the key in a folder, or makes it.
pub(crate) fn open(data: &Path) -> Result<Keypair, KeyError> {
    let path = data.join(NAME);
    match fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_BYTES => {
            Err(KeyError::NotPlain { path })
        }
        Ok(metadata) => read(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(data, path),
        Err(source) => Err(KeyError::Read { path, source }),
    }
}

fn read(path: PathBuf, metadata: &fs::Metadata) -> Result<Keypair, KeyError> {
    let bytes = close_to_others(&path, metadata).and_then(|()| fs::read(&path));
    match bytes {
        Ok(bytes) => Keypair::from_protobuf_encoding(&bytes)
            .map_err(|source| KeyError::Damaged { path, source }),
        Err(source) => Err(KeyError::Read { path, source }),
    }
}

/// Others on this machine are not to read the key, whatever copied it here.
#[cfg(unix)]
fn close_to_others(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(file = %path.display(), "others could read the node's key; closing it to them");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn close_to_others(_path: &Path, _metadata: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

fn make(data: &Path, path: PathBuf) -> Result<Keypair, KeyError> {
    let key = Keypair::generate_ed25519();
    match write(data, &path, &key) {
        Ok(()) => Ok(key),
        Err(source) => Err(KeyError::Write { path, source }),
    }
}

/// The file appears whole or not at all, and never replaces one.
fn write(data: &Path, path: &Path, key: &Keypair) -> io::Result<()> {
    let bytes = key.to_protobuf_encoding().map_err(io::Error::other)?;
    // Temporary files are made for their owner only.
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    sync_folder(data)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
