//! The API token, which requests that change the node must carry. Created at the first start in
//! `DATA/api-token`, readable by its owner only: read access to the file is control of the node.

use crate::random::random_bytes;
use anyhow::{Context, Result, bail};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chain::hash::sha256;
use chain::store;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file in the data folder.
const FILE: &str = "api-token";
/// Bytes of a token, which is written in hexadecimal.
const BYTES: usize = 32;

/// An API token. `Debug` hides its text, so that it never appears in a log.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token of a data folder, or creates one if there is none.
    pub fn open_or_create(data: &Path) -> Result<Token> {
        let path = data.join(FILE);
        if !store::keeps_modes(data) {
            tracing::warn!(
                "the file system of {} keeps no permissions: other users of this machine may be \
                 able to read the API token and the node's key there",
                data.display()
            );
        }
        if fs::symlink_metadata(&path).is_ok() { read_file(&path) } else { create(&path) }
            .with_context(|| format!("token file {}", path.display()))
    }

    /// Checks the token of a data directory, if there is one.
    pub fn check(data: &Path) -> Result<()> {
        match fs::symlink_metadata(data.join(FILE)) {
            Ok(_) => Token::read(data).map(drop),
            Err(_) => Ok(()),
        }
    }

    /// Reads the token that a node has created in its data folder.
    pub fn read(data: &Path) -> Result<Token> {
        let path = data.join(FILE);
        read_file(&path).with_context(|| format!("the node's token, {}", path.display()))
    }

    /// The text of the token, to be sent to its own node only.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the headers of a request carry the token.
    pub fn is_sent_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let parts = value.to_str().ok().and_then(|value| value.split_once(' '));
        parts.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && self.is_equal_to(token.trim_ascii())
        })
    }

    /// Whether a text is the token. Compares digests, so that the duration of the comparison reveals
    /// nothing about the token.
    pub fn is_equal_to(&self, text: &str) -> bool {
        sha256(text.as_bytes()) == sha256(self.0.as_bytes())
    }
}

fn read_file(path: &Path) -> Result<Token> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        bail!("not a regular file: remove it, and the node creates a new one");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        let directory = path.parent().unwrap_or(Path::new("."));
        if mode & 0o077 != 0 && store::keeps_modes(directory) {
            bail!("readable by others (mode {mode:o}): remove it, and the node creates a new one");
        }
    }
    let text = fs::read_to_string(path)?;
    let text = text.trim_ascii();
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("not {} hexadecimal digits: remove it, and the node creates a new one", 2 * BYTES);
    }
    Ok(Token(text.into()))
}

/// Writes a temporary file and renames it, so that a crash leaves no partial token. Renaming follows
/// no link.
fn create(path: &Path) -> Result<Token> {
    let token = hex::encode(random_bytes::<BYTES>()?);
    let temporary: PathBuf = path.with_extension("new");
    // A crash may have left one.
    let _ = fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&temporary)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if cfg!(unix) {
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(Token(token.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn creates_one_token_for_a_data_folder() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let token = Token::open_or_create(one.path()).unwrap();
        assert_eq!(token.0.len(), 64);
        assert_eq!(Token::open_or_create(one.path()).unwrap().0, token.0);
        assert_ne!(Token::open_or_create(other.path()).unwrap().0, token.0);
        assert!(!format!("{token:?}").contains(&*token.0));
    }

    // R14
    #[cfg(unix)]
    #[test]
    fn file_must_be_private_and_not_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        Token::open_or_create(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = format!("{:#}", Token::open_or_create(folder.path()).unwrap_err());
        assert!(error.contains("mode 644") && error.contains("api-token"), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(Token::open_or_create(folder.path()).is_err());
        fs::remove_file(&elsewhere).unwrap();
        assert!(
            Token::open_or_create(folder.path()).is_err(),
            "a dangling link is not followed either"
        );
    }

    #[test]
    fn rejects_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        Token::open_or_create(folder.path()).unwrap();
        fs::write(folder.path().join(FILE), "").unwrap();
        assert!(Token::open_or_create(folder.path()).is_err());
    }

    // R14
    #[test]
    fn accepts_only_the_exact_bearer_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::open_or_create(folder.path()).unwrap();
        let is_sent = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            token.is_sent_in(&headers)
        };
        let text = &*token.0;
        assert!(is_sent(&[format!("Bearer {text}")]));
        assert!(is_sent(&[format!("bearer  {text}")]));
        for wrong in ["", "Bearer", "Bearer ", text, "Bearer null"] {
            assert!(!is_sent(&[wrong.to_owned()]), "{wrong}");
        }
        assert!(!is_sent(&[format!("Basic {text}")]));
        assert!(!is_sent(&[format!("Bearer {}", &text[1..])]));
        assert!(!is_sent(&[format!("Bearer {text}0")]));
        assert!(!is_sent(&[format!("Bearer {text}"), format!("Bearer {text}")]));
        assert!(!is_sent(&[]));
    }
}
