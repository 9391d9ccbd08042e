//! Space on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The number of bytes that are written at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Whether an operation failed for lack of space: on the disk, in the user's quota, or below the
/// limit of the sizes of files.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull)
}

/// Whether the disk has room for this number of bytes. Creates a file at `path`, because only that observes
/// quotas, and removes it again.
pub(super) fn has_room(path: &Path, bytes: usize) -> io::Result<bool> {
    let has_room = reserve(path, bytes)?;
    remove(path)?;
    Ok(has_room)
}

/// Creates a file of this number of bytes, which keeps this room until it is removed. Returns false if the
/// disk has no room for it, and leaves no file then.
pub(super) fn reserve(path: &Path, bytes: usize) -> io::Result<bool> {
    match write_zeros(path, bytes) {
        Ok(()) => Ok(true),
        Err(error) => {
            remove(path)?;
            if is_disk_full(&error) { Ok(false) } else { Err(error) }
        }
    }
}

/// Removes a file if it exists.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_zeros(path: &Path, mut bytes: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    let zeros = vec![0; CHUNK_BYTES];
    while bytes > 0 {
        let length = bytes.min(CHUNK_BYTES);
        file.write_all(&zeros[..length])?;
        bytes -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_for_room_leaves_no_file_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe");
        assert!(has_room(&path, 3 * CHUNK_BYTES + 1).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = has_room(&folder.path().join("none/probe"), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(reserve(&path, CHUNK_BYTES + 1).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), CHUNK_BYTES as u64 + 1);
    }
}
