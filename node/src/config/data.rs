//! Data directories: their default place, and how to recognise one.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// File of a data directory with the genesis hash of its network.
pub const GENESIS: &str = "genesis";

/// Whether a directory is the data directory of a network.
pub fn is_data(dir: &Path) -> bool {
    dir.join(GENESIS).is_file()
}

/// The default data directory of a network.
pub fn default_data(network: &str) -> Result<PathBuf> {
    let directories =
        directories::BaseDirs::new().context("this user has no home directory: use --data DIR")?;
    Ok(directories.data_dir().join("chain").join(network))
}

/// The default data directories that exist.
pub fn data_directories() -> Vec<PathBuf> {
    let Some(directories) = directories::BaseDirs::new() else { return Vec::new() };
    let entries = fs::read_dir(directories.data_dir().join("chain")).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths.filter(|path| is_data(path)).collect();
    found.sort_unstable();
    found
}
