//! The operator's list of invalidated blocks: the file `invalidated` in the data directory, one
//! hash per line. The list is local policy, not consensus: without it the node follows the best
//! chain again. `ledger` applies it.

use super::directory::{DirectoryError, read_if_exists, replace};
use crate::block;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const NAME: &str = "invalidated";

/// Reads the hashes of the invalidated blocks; none if the file does not exist.
///
/// # Errors
/// Returns [`DirectoryError::BadInvalidatedList`] or a disk error.
pub fn read(directory: &Path) -> Result<BTreeSet<block::Hash>, DirectoryError> {
    let path = directory.join(NAME);
    let text = read_if_exists(&path)?.unwrap_or_default();
    let hashes = text.lines().map(|line| line.trim().parse());
    hashes.collect::<Result<_, _>>().map_err(|_| DirectoryError::BadInvalidatedList { path })
}

/// Replaces the list. It is synced when this returns.
///
/// # Errors
/// Returns a disk error; the list is not changed then.
pub fn write(directory: &Path, hashes: &BTreeSet<block::Hash>) -> Result<(), DirectoryError> {
    let mut text = String::new();
    for hash in hashes {
        writeln!(text, "{hash}").expect("writing to a string succeeds");
    }
    replace(&directory.join(NAME), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_survive_the_file_and_other_text_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeSet::new());
        let hashes = BTreeSet::from([1, 2].map(|byte| block::Hash::from_bytes([byte; 32])));
        write(folder.path(), &hashes).unwrap();
        assert_eq!(read(folder.path()).unwrap(), hashes);
        write(folder.path(), &BTreeSet::new()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeSet::new());
        std::fs::write(folder.path().join(NAME), "all of them\n").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::BadInvalidatedList { .. }), "{error}");
    }
}
