//! The file `node.json` in the data folder, by which commands on this machine find a running node.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where a running node is to be found: `DATA/node.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFile {
    /// Its process.
    pub pid: u32,
    /// The REST API: an http or https URL.
    pub api: String,
    /// The network's name.
    pub network: String,
    /// The network's genesis hash.
    pub genesis: String,
    /// What others know it by.
    #[serde(default)]
    pub node_id: String,
    /// Where others can call it: multiaddrs.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Where mining machines connect, if anywhere: a stratum+tcp URL.
    #[serde(default)]
    pub stratum: Option<String>,
    /// SHA-256 of the certificate that it shows by https: commands on this machine trust that one.
    #[serde(default)]
    pub certificate: Option<String>,
}

impl NodeFile {
    pub const FILE: &str = "node.json";

    /// What a running node, or one that was killed, has left in its data folder.
    pub fn read(data: &Path) -> Option<NodeFile> {
        serde_json::from_slice(&std::fs::read(data.join(NodeFile::FILE)).ok()?).ok()
    }

    pub fn write(&self, data: &Path) -> Result<()> {
        let path = data.join(NodeFile::FILE);
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}
