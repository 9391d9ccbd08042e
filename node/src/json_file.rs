//! JSON files that are replaced as a whole: readers find the old content or the new.

use anyhow::{Context, Result};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Writes a file as JSON, atomically. It is not synced.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let write = || {
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        let mut json = serde_json::to_vec_pretty(value)?;
        json.push(b'\n');
        file.write_all(&json)?;
        file.persist(path)?;
        Ok::<_, anyhow::Error>(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
