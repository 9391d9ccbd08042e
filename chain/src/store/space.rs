//! Space on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The number of bytes that [`has_room`] writes at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Whether an operation failed for lack of space, on the disk or in the user's quota.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk has room for so many bytes at `path`, which must not exist. Writes a file
/// there, because only that observes quotas, and removes it again.
pub(super) fn has_room(path: &Path, bytes: usize) -> io::Result<bool> {
    let written = write_zeros(path, bytes);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match written {
        Err(error) if is_disk_full(&error) => Ok(false),
        written => written.map(|()| true),
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
    }
}
