//! The operator's lists of invalidated and reconsidered blocks: the files `invalidated` and
//! `reconsidered` in the data directory, one hash per line. The lists are local policy, not
//! consensus: without them the node follows the best chain again. `ledger` applies them.

use super::directory::{DirectoryError, read_if_exists, replace};
use crate::block;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// A list of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The blocks that are not followed.
    Invalidated,
    /// The blocks whose invalidation was reverted.
    Reconsidered,
}

impl List {
    const fn name(self) -> &'static str {
        match self {
            List::Invalidated => "invalidated",
            List::Reconsidered => "reconsidered",
        }
    }
}

/// Reads the hashes of a list; none if the file does not exist.
///
/// # Errors
/// Returns [`DirectoryError::BadInvalidatedList`] or a disk error.
pub fn read(directory: &Path, list: List) -> Result<BTreeSet<block::Hash>, DirectoryError> {
    let path = directory.join(list.name());
    let text = read_if_exists(&path)?.unwrap_or_default();
    let hashes = text.lines().map(|line| line.trim().parse());
    hashes.collect::<Result<_, _>>().map_err(|_| DirectoryError::BadInvalidatedList { path })
}

/// Replaces the list. It is synced when this returns.
///
/// # Errors
/// Returns a disk error; the list is not changed then.
pub fn write(
    directory: &Path,
    list: List,
    hashes: &BTreeSet<block::Hash>,
) -> Result<(), DirectoryError> {
    let mut text = String::new();
    for hash in hashes {
        writeln!(text, "{hash}").expect("writing to a string succeeds");
    }
    replace(&directory.join(list.name()), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_survive_the_file_and_other_text_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        for (list, byte) in [(List::Invalidated, 1), (List::Reconsidered, 2)] {
            let read = || read(folder.path(), list);
            assert_eq!(read().unwrap(), BTreeSet::new());
            let hashes = BTreeSet::from([byte, 7].map(|byte| block::Hash::from_bytes([byte; 32])));
            write(folder.path(), list, &hashes).unwrap();
            assert_eq!(read().unwrap(), hashes);
            write(folder.path(), list, &BTreeSet::new()).unwrap();
            assert_eq!(read().unwrap(), BTreeSet::new());
            std::fs::write(folder.path().join(list.name()), "all of them\n").unwrap();
            let error = read().unwrap_err();
            assert!(matches!(error, DirectoryError::BadInvalidatedList { .. }), "{error}");
        }
    }
}
