//! Checksums of the files of a closed index, by which the next open detects changes.
//!
//! `FOLDER.sum` has one line per file, sorted by name: CRC-32C, size in bytes, name.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::{IndexError, remove_path};
use crate::store::directory::{replace_file, sync_folder};

/// The size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Syncs the files of an index and writes their checksums.
pub(super) fn write(folder: &Path) -> Result<(), IndexError> {
    sync(folder).map_err(IndexError::io("sync", folder))?;
    let summary = summary(folder).map_err(IndexError::io("read", folder))?;
    let path = path_for(folder);
    replace_file(&path, summary.as_bytes()).map_err(|error| match error.is_disk_full() {
        true => IndexError::Full { path },
        false => IndexError::io(error.action, &path)(error.source),
    })
}

/// Returns the reason why the files of an index do not match their checksums; `None` if they match.
pub fn mismatch(folder: &Path) -> Option<String> {
    let Ok(expected) = fs::read(path_for(folder)) else {
        return Some("the checksums of its files are missing".to_owned());
    };
    match summary(folder) {
        Ok(found) if found.as_bytes() == expected => None,
        Ok(_) => Some("its files do not match their checksums".to_owned()),
        Err(error) => Some(format!("its files cannot be read: {error}")),
    }
}

/// Removes the checksums, because the index is about to change.
pub(super) fn remove(folder: &Path) -> Result<(), IndexError> {
    let path = path_for(folder);
    if fs::symlink_metadata(&path).is_ok() { remove_path(&path) } else { Ok(()) }
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
        writeln!(summary, "{crc:08x} {bytes} {name}").expect("writing to a string succeeds");
    }
    Ok(summary)
}

fn sync(folder: &Path) -> io::Result<()> {
    for path in files(folder)? {
        File::open(path)?.sync_all()?;
    }
    sync_folder(folder)
}

/// Returns the files in a folder and its subfolders, sorted by path.
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
