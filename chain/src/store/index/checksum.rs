//! What the files of a closed index are, so that the next open sees whether they still are.
//!
//! `FOLDER.sum` has a line a file, sorted by name: CRC-32C, bytes, name.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::directory::{replace_file, sync_folder};
use super::IndexError;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Syncs the files of an index and notes what they are.
pub(super) fn write(folder: &Path) -> Result<(), IndexError> {
    let path = path_for(folder);
    sync(folder)
        .and_then(|()| summary(folder))
        .and_then(|summary| replace_file(&path, summary.as_bytes()))
        .map_err(IndexError::io("write", &path))
}

/// Why the files of an index are not those that were noted; `None` if they are.
pub(super) fn mismatch(folder: &Path) -> Option<String> {
    let Ok(noted) = fs::read(path_for(folder)) else {
        return Some("the sums of its files are missing".to_owned());
    };
    match summary(folder) {
        Ok(found) if found.as_bytes() == noted => None,
        Ok(_) => Some("its files are not as they were left".to_owned()),
        Err(error) => Some(format!("its files cannot be read: {error}")),
    }
}

/// Forgets what was noted: the index is about to change.
pub(super) fn remove(folder: &Path) -> Result<(), IndexError> {
    let path = path_for(folder);
    if fs::symlink_metadata(&path).is_ok() { super::remove(&path) } else { Ok(()) }
}

fn path_for(folder: &Path) -> PathBuf {
    folder.with_added_extension("sum")
}

fn summary(folder: &Path) -> io::Result<String> {
    let mut summary = String::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    for path in files(folder)? {
        let (mut crc, mut bytes) = (0, 0);
        let mut file = File::open(&path)?;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &buffer[..read]);
            bytes += read;
        }
        let name = path.strip_prefix(folder).unwrap_or(&path).display();
        writeln!(summary, "{crc:08x} {bytes} {name}").expect("a string takes everything");
    }
    Ok(summary)
}

fn sync(folder: &Path) -> io::Result<()> {
    for path in files(folder)? {
        File::open(path)?.sync_all()?;
    }
    sync_folder(folder)
}

/// The files in a folder and those below it, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
