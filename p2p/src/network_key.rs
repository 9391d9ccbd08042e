//! The key of a private network: only nodes with the same key can connect to each other. It is the
//! pre-shared key of libp2p, in the file format that other libp2p programs use.

use libp2p::pnet::PreSharedKey;
use rand::TryRng;
use rand::rngs::SysRng;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The maximum size of a key file, in bytes: it has about 100.
const MAX_BYTES: u64 = 1 << 10;
const BYTES: usize = 32;

/// The key of a private network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkKey(PreSharedKey);

/// An error that prevents the key from being read. It never contains the key.
#[derive(Debug, thiserror::Error)]
pub enum NetworkKeyError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file does not contain a key.
    #[error("the file is not a network key: `chain util network-key FILE` makes one")]
    NotAKey,
}

impl NetworkKey {
    /// Returns a new random key.
    ///
    /// # Errors
    /// The operating system provides no randomness.
    pub fn generate() -> io::Result<NetworkKey> {
        let mut bytes = [0; BYTES];
        SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
        Ok(NetworkKey(PreSharedKey::new(bytes)))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a key.
    pub fn read(path: &Path) -> Result<NetworkKey, NetworkKeyError> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        // The parser expects characters of one byte.
        let text = str::from_utf8(&bytes).ok().filter(|text| text.is_ascii());
        let key = text.and_then(|text| text.parse().ok());
        key.map(NetworkKey).ok_or(NetworkKeyError::NotAKey)
    }

    /// Returns the content of a key file.
    pub fn to_file_content(&self) -> String {
        self.0.to_key_file()
    }

    pub(crate) fn pre_shared_key(self) -> PreSharedKey {
        self.0
    }
}

impl fmt::Debug for NetworkKey {
    /// Hides the key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NetworkKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn key_file_has_the_format_of_libp2p_and_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("swarm.key");
        let key = NetworkKey::generate().unwrap();
        let content = key.to_file_content();
        fs::write(&path, &content).unwrap();
        assert_eq!(NetworkKey::read(&path).unwrap(), key);
        assert_ne!(NetworkKey::generate().unwrap(), key);
        let lines: Vec<&str> = content.lines().collect();
        assert_eq!((lines.len(), &lines[..2]), (3, &["/key/swarm/psk/1.0.0/", "/base16/"][..]));
        assert!(lines[2].len() == 64 && !format!("{key:?}").contains(&lines[2][..8]));
    }

    #[test]
    fn rejects_files_that_are_no_keys_without_showing_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("swarm.key");
        let content = NetworkKey::generate().unwrap().to_file_content();
        let secret = content.lines().last().unwrap();
        for bad in [
            String::new(),
            secret.to_owned(),
            content.replace(secret, &secret[1..]),
            content.replace("base16", "base64"),
            // As many bytes as a key, but fewer characters.
            content.replace(secret, &"ä".repeat(32)),
        ] {
            fs::write(&path, &bad).unwrap();
            let error = NetworkKey::read(&path).unwrap_err();
            assert!(matches!(error, NetworkKeyError::NotAKey), "{bad}");
            assert!(!format!("{error} {error:?}").contains(&secret[1..9]));
        }
        let missing = NetworkKey::read(&directory.path().join("none")).unwrap_err();
        assert!(matches!(missing, NetworkKeyError::Io(_)));
    }
}
