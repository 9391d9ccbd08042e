//! TLS for connections of the API and of miners: certificate chain and key from PEM files, TLS 1.2 and
//! 1.3, for the API only HTTP/1.1 by ALPN. Source: RFC 8446, RFC 7301.

use anyhow::{Context, Result, anyhow, ensure};
use chain::hash::sha256;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::{fs, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The certificate and key that the server authenticates with. Cheap to clone; clones reload
/// together.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Arc<RwLock<Loaded>>,
}

/// What the files held when they were last read.
struct Loaded {
    http: TlsAcceptor,
    any_protocol: TlsAcceptor,
    fingerprint: [u8; 32],
    is_key_world_readable: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// Reads a PEM file with the server's certificate, followed by its intermediate certificates, and
    /// one with the private key of the first.
    pub fn open(certificate: &Path, key: &Path) -> Result<Tls> {
        let loaded = Arc::new(RwLock::new(Loaded::read(certificate, key)?));
        Ok(Tls { certificate: certificate.to_owned(), key: key.to_owned(), loaded })
    }

    /// Reads the files again, for the connections from now on. On an error, such as a key that is not
    /// that of the certificate, what was read before stays in use.
    pub fn reload(&self) -> Result<()> {
        let loaded = Loaded::read(&self.certificate, &self.key)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// SHA-256 of the server's certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.loaded().fingerprint
    }

    /// The path of the key file, if every user of this machine can read it.
    pub fn world_readable_key(&self) -> Option<&Path> {
        self.loaded().is_key_world_readable.then_some(&*self.key)
    }

    /// Performs the server's side of a TLS handshake for HTTP/1.1.
    pub async fn accept<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.loaded().http.clone();
        acceptor.accept(socket).await
    }

    /// Performs the server's side of a TLS handshake, whatever protocols the client offers by ALPN.
    pub async fn accept_any_protocol<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.loaded().any_protocol.clone();
        acceptor.accept(socket).await
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    fn read(certificate: &Path, key: &Path) -> Result<Loaded> {
        let (certificate_path, key_path) = (certificate.display(), key.display());
        let text = read("tls_cert", certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain =
            chain.map_err(|error| anyhow!("tls_cert: {certificate_path} is damaged: {error}"))?;
        let first = chain.first();
        let first =
            first.with_context(|| format!("tls_cert: {certificate_path} holds no certificate"))?;
        let fingerprint = sha256(first);
        let private =
            PrivateKeyDer::from_pem_slice(&read("tls_key", key)?).map_err(|error| match error {
                PemError::NoItemsFound => {
                    anyhow!("tls_key: {key_path} holds no key that is not encrypted")
                }
                error => anyhow!("tls_key: {key_path} is damaged: {error}"),
            })?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth();
        let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                anyhow!("tls_key: the key in {key_path} is not that of the certificate in {certificate_path}")
            }
            Error::InvalidCertificate(_) => anyhow!("tls_cert: {certificate_path} is damaged: {error}"),
            error => anyhow!("tls_key: the key in {key_path} cannot be used: {error}"),
        })?;
        let any_protocol = TlsAcceptor::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Loaded {
            http: TlsAcceptor::from(Arc::new(config)),
            any_protocol,
            fingerprint,
            is_key_world_readable: is_world_readable(key)?,
        })
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let text = fs::read(path).with_context(|| format!("{setting}: cannot read {shown}"))?;
    ensure!(!text.is_empty(), "{setting}: {shown} is empty");
    Ok(text)
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_world_readable(_path: &Path) -> Result<bool> {
    Ok(false)
}
