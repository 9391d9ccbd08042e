//! Files of the block log: names, creation and headers.

use super::error::LogError;
use super::gaps::Gaps;
use super::record::{FILE_HEADER_BYTES, FileHeader, HEADER_BYTES, Header, Salt, Tag};
use crate::store::directory::sync_folder;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The path of the log file with this number.
pub(in crate::store) fn file_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}.log"))
}

/// Opens a log file for reading.
pub(super) fn open_file(path: &Path) -> Result<File, LogError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LogError::Missing { path: path.to_owned() },
        _ => LogError::io("open", path)(error),
    })
}

/// Creates a log file that follows one of `previous` bytes, and syncs it before returning. If the
/// disk is full, the file does not exist afterwards.
pub(super) fn create_file(
    folder: &Path,
    number: u32,
    previous: u64,
) -> Result<(File, Salt), LogError> {
    let path = file_path(folder, number);
    let previous = u32::try_from(previous).map_err(|_| LogError::Damaged {
        path: file_path(folder, number.saturating_sub(1)),
        offset: u32::MAX.into(),
    })?;
    let salt = Salt::random();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(LogError::write("create", &path))?;
    if let Err(error) = file.write_all(&FileHeader::encode(salt, previous, false)) {
        fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
        return Err(LogError::write("write", &path)(error));
    }
    file.sync_all().map_err(LogError::io("sync", &path))?;
    sync_folder(folder).map_err(LogError::io("sync", folder))?;
    Ok((file, salt))
}

/// Reads the header of a file and its gaps, or `None` if the file is shorter than a header.
pub(super) fn read_header(
    file: &mut impl Read,
    path: &Path,
) -> Result<Option<(FileHeader, Gaps)>, LogError> {
    let mut bytes = [0; FILE_HEADER_BYTES as usize];
    if !fill_buffer(file, &mut bytes, path)? {
        return Ok(None);
    }
    let header = FileHeader::decode(&bytes);
    let gaps = match header {
        FileHeader::Valid { salt, is_compacted: true, .. } => read_gaps(file, path, salt)?,
        _ => Gaps::default(),
    };
    Ok(Some((header, gaps)))
}

fn read_gaps(file: &mut impl Read, path: &Path, salt: Salt) -> Result<Gaps, LogError> {
    let damaged = || LogError::Damaged { path: path.to_owned(), offset: FILE_HEADER_BYTES.into() };
    let mut bytes = [0; HEADER_BYTES as usize];
    if !fill_buffer(file, &mut bytes, path)? {
        return Err(damaged());
    }
    let header = Header::decode(&bytes, FILE_HEADER_BYTES).filter(|header| header.tag == Tag::Gaps);
    let header = header.ok_or_else(damaged)?;
    let mut payload = vec![0; header.length as usize];
    let is_valid = fill_buffer(file, &mut payload, path)? && header.matches(&payload, salt);
    Gaps::decode(&payload).filter(|_| is_valid).ok_or_else(damaged)
}

/// Fills the buffer from the file; false if the file ends before the buffer is full.
pub(super) fn fill_buffer(
    file: &mut impl Read,
    buffer: &mut [u8],
    path: &Path,
) -> Result<bool, LogError> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(LogError::io("read", path)(error)),
    }
}
