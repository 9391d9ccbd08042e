//! The token that protects what changes the node: made at the first start, kept in `DATA/api-token`
//! for its owner's eyes only. Whoever can read the file may steer the node.

use anyhow::{Context, Result, bail};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chain::hash::sha256;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file in the data folder.
const FILE: &str = "api-token";
/// Bytes of a token; as text twice that many hexadecimal digits.
const BYTES: usize = 32;

/// A token. Its text never appears in a log: `Debug` hides it.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token of a data folder, made if there is none yet.
    pub fn open(data: &Path) -> Result<Token> {
        let path = data.join(FILE);
        if fs::symlink_metadata(&path).is_ok() { read(&path) } else { create(&path) }
            .with_context(|| format!("token file {}", path.display()))
    }

    /// The token that a node has left in its data folder.
    pub fn of_node(data: &Path) -> Result<Token> {
        let path = data.join(FILE);
        read(&path).with_context(|| format!("the node's token, {}", path.display()))
    }

    /// Its text, to be sent to the node it is of and nowhere else.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a request carries it. Digests are compared, so how long the comparison takes says
    /// nothing about the token.
    pub fn is_carried_by(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let parts = value.to_str().ok().and_then(|value| value.split_once(' '));
        parts.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer")
                && sha256(token.trim_ascii().as_bytes()) == sha256(self.0.as_bytes())
        })
    }
}

fn read(path: &Path) -> Result<Token> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        bail!("it is a link or no file: remove it, and the node makes a new one");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!("others may read it (mode {mode:o}): remove it, and the node makes a new one");
        }
    }
    let text = fs::read_to_string(path)?;
    let text = text.trim_ascii();
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!(
            "it does not hold {} hexadecimal digits: remove it, and the node makes a new one",
            2 * BYTES
        );
    }
    Ok(Token(text.into()))
}

/// Written aside and renamed, so a crash leaves no half token; renaming follows no link.
fn create(path: &Path) -> Result<Token> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).context("the system has no randomness to give")?;
    let token = hex::encode(bytes);
    let aside: PathBuf = path.with_extension("new");
    // What a crash may have left; if it is not there, all the better.
    let _ = fs::remove_file(&aside);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&aside)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    Ok(Token(token.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_data_folder_has_one_token() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let token = Token::open(one.path()).unwrap();
        assert_eq!(token.0.len(), 64);
        assert_eq!(Token::open(one.path()).unwrap().0, token.0);
        assert_ne!(Token::open(other.path()).unwrap().0, token.0);
        assert!(!format!("{token:?}").contains(&*token.0));
    }

    // R14
    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_no_link() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        Token::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = format!("{:#}", Token::open(folder.path()).unwrap_err());
        assert!(error.contains("mode 644") && error.contains("api-token"), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(Token::open(folder.path()).is_err());
        fs::remove_file(&elsewhere).unwrap();
        assert!(Token::open(folder.path()).is_err(), "a link to nothing is not followed either");
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Token::open(folder.path()).unwrap();
        fs::write(folder.path().join(FILE), "").unwrap();
        assert!(Token::open(folder.path()).is_err());
    }

    // R14
    #[test]
    fn only_the_token_itself_opens() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::open(folder.path()).unwrap();
        let carried = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            token.is_carried_by(&headers)
        };
        let text = &*token.0;
        assert!(carried(&[format!("Bearer {text}")]));
        assert!(carried(&[format!("bearer  {text}")]));
        for wrong in ["", "Bearer", "Bearer ", text, "Bearer null"] {
            assert!(!carried(&[wrong.to_owned()]), "{wrong}");
        }
        assert!(!carried(&[format!("Basic {text}")]));
        assert!(!carried(&[format!("Bearer {}", &text[1..])]));
        assert!(!carried(&[format!("Bearer {text}0")]));
        assert!(!carried(&[format!("Bearer {text}"), format!("Bearer {text}")]));
        assert!(!carried(&[]));
    }
}
