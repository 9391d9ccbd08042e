//! Keys of private networks.

use super::report::{Abort, Report, ReportResult};
use anyhow::Context;
use p2p::NetworkKey;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
pub(super) struct KeyFile {
    file: PathBuf,
}

/// Writes a new key to a file, which must not exist, and which only its owner can read.
pub(super) fn create(path: &Path) -> ReportResult<KeyFile> {
    let create = || -> anyhow::Result<()> {
        let key = NetworkKey::generate()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let context = || format!("cannot create {}", path.display());
        let mut file = options.open(path).with_context(context)?;
        file.write_all(key.to_file_content().as_bytes()).and_then(|()| file.sync_all())?;
        Ok(())
    };
    create().map_err(Abort::Failed)?;
    Ok(Report::valid(KeyFile { file: path.to_owned() }))
}
