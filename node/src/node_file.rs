//! The file `node.json` in the data folder, by which commands on this machine find a running node.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// The name of the file in the data folder.
const FILE: &str = "node.json";

/// The contents of `node.json`, by which commands on this machine reach a running node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFile {
    /// The id of the process.
    pub pid: u32,
    /// The http or https URL of the REST API.
    pub api: String,
    /// The name of the network.
    pub network: String,
    /// The hash of the genesis block.
    pub genesis: String,
    /// The peer id of the node.
    #[serde(default)]
    pub node_id: String,
    /// The multiaddrs at which other nodes can dial this one.
    #[serde(default)]
    pub peers: Vec<String>,
    /// The stratum+tcp URL for miners, if the node serves them.
    #[serde(default)]
    pub stratum: Option<String>,
    /// SHA-256 of the TLS certificate of the API, which commands on this machine trust.
    #[serde(default)]
    pub certificate: Option<String>,
}

impl NodeFile {
    /// Reads the file of a running node, or of one that was killed.
    pub fn read(data: &Path) -> Option<NodeFile> {
        serde_json::from_slice(&std::fs::read(data.join(FILE)).ok()?).ok()
    }

    /// Checks that the file can be written, as far as the data directory exists.
    pub fn check(data: &Path) -> Result<()> {
        let path = data.join(FILE);
        ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
        ensure!(data.is_dir() || !data.exists(), "{} is not a directory", data.display());
        if data.is_dir() {
            let probe = tempfile::NamedTempFile::new_in(data);
            probe.with_context(|| format!("cannot write to {}", data.display()))?;
        }
        Ok(())
    }

    /// Writes the file atomically.
    pub fn write(&self, data: &Path) -> Result<()> {
        let path = data.join(FILE);
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    pub fn remove(data: &Path) -> io::Result<()> {
        std::fs::remove_file(data.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directory_in_which_the_file_cannot_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = |data: &Path| NodeFile::check(data).unwrap_err().to_string();
        NodeFile::check(folder.path()).unwrap();
        NodeFile::check(&folder.path().join("new").join("data")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(error(&folder.path().join("file")).contains("is not a directory"));
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        assert!(error(folder.path()).contains("node.json: it is a directory"));
    }
}
