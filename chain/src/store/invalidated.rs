//! Blocks that an operator has set aside: the file `set-aside` in the data directory, a hash a line.
//! Nothing on the chain follows from it, and losing it harms nothing: the best chain is followed
//! again. Does not know what a mark means: that is `ledger`.

use super::directory::{DirectoryError, read_if_there, replace};
use crate::block;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const NAME: &str = "set-aside";

/// The marks of a data directory.
///
/// # Errors
/// [`DirectoryError::BadInvalidatedList`] and those of the disk.
pub fn read(directory: &Path) -> Result<BTreeSet<block::Hash>, DirectoryError> {
    let path = directory.join(NAME);
    let text = read_if_there(&path)?.unwrap_or_default();
    let hashes = text.lines().map(|line| line.trim().parse());
    hashes.collect::<Result<_, _>>().map_err(|_| DirectoryError::BadInvalidatedList { path })
}

/// Replaces them; synced when this returns.
///
/// # Errors
/// Those of the disk; the marks are then as they were.
pub fn write(directory: &Path, marks: &BTreeSet<block::Hash>) -> Result<(), DirectoryError> {
    let mut text = String::new();
    for hash in marks {
        writeln!(text, "{hash}").expect("a string takes everything");
    }
    replace(&directory.join(NAME), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_their_file_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeSet::new());
        let marks = BTreeSet::from([1, 2].map(|byte| block::Hash::from_bytes([byte; 32])));
        write(folder.path(), &marks).unwrap();
        assert_eq!(read(folder.path()).unwrap(), marks);
        write(folder.path(), &BTreeSet::new()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeSet::new());
        std::fs::write(folder.path().join(NAME), "all of them\n").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::BadInvalidatedList { .. }), "{error}");
    }
}
