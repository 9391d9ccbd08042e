//! Verification of a node's certificate: by the authorities of the platform and of `--ca`, or, for a
//! node on this machine, by the fingerprint in its data directory, whatever its names and issuer.

use anyhow::{Context, Result, anyhow, ensure};
use chain::hash::sha256;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The certificates to trust.
#[derive(Debug, Default)]
pub struct Trust {
    /// Authorities besides those of the platform.
    authorities: Vec<CertificateDer<'static>>,
    /// SHA-256 of the only certificate to trust.
    fingerprint: Option<[u8; 32]>,
}

impl Trust {
    /// Trusts the authorities of the platform, and those of a PEM file.
    pub fn with_authorities(path: Option<&Path>) -> Result<Trust> {
        let Some(path) = path else { return Ok(Trust::default()) };
        let shown = path.display();
        let text = std::fs::read(path).with_context(|| format!("cannot read --ca {shown}"))?;
        let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let authorities = authorities.ok().filter(|found| !found.is_empty());
        let authorities =
            authorities.with_context(|| format!("--ca {shown} holds no certificates as PEM"))?;
        let mut roots = RootCertStore::empty();
        let (_, ignored) = roots.add_parsable_certificates(authorities.iter().cloned());
        ensure!(ignored == 0, "--ca {shown} holds a certificate that cannot be read");
        Ok(Trust { authorities, fingerprint: None })
    }

    /// Trusts only the certificate with a hexadecimal SHA-256.
    pub fn in_certificate(fingerprint: Option<&str>) -> Result<Trust> {
        let Some(text) = fingerprint else { return Ok(Trust::default()) };
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .context("invalid certificate fingerprint in the data directory")?;
        Ok(Trust { fingerprint: Some(bytes), ..Trust::default() })
    }

    /// Returns the TLS configuration of the client. For a URL without https it trusts no
    /// certificate, which spares reading the certificate authorities.
    pub(super) fn config(self, is_https: bool) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match self.fingerprint {
            // Reading the authorities of the platform is slow.
            _ if !is_https => builder.with_root_certificates(RootCertStore::empty()),
            None => {
                let listed = self.authorities.clone();
                let verifier =
                    WithListed { verifier: platform(self.authorities, provider)?, listed };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Some(fingerprint) => {
                let algorithms = provider.signature_verification_algorithms;
                let verifier = Arc::new(Pinned { fingerprint, algorithms });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn platform(
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier> {
    Verifier::new_with_extra_roots(authorities, provider).map_err(|error| {
        anyhow!("this machine has no certificate authorities ({error}): use --ca FILE")
    })
}

/// Accepts what the platform's verifier accepts, and a listed certificate of a server itself. One
/// that is self-signed is its own authority as a rule, and is refused for that reason only.
#[derive(Debug)]
struct WithListed {
    verifier: Verifier,
    /// The certificates of `--ca`.
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for WithListed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.verifier.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // The period of validity was checked before.
            Err(Error::InvalidCertificate(CertificateError::Other(cause)))
                if cause.to_string().contains("CaUsedAsEndEntity")
                    && self.listed.contains(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Accepts one certificate, and the handshake signature by its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if sha256(certificate) == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The TLS error that caused a request to fail.
pub(super) fn tls_error(error: &reqwest::Error) -> Option<&Error> {
    sources(error).find_map(|error| {
        // The TLS error is wrapped twice in `io::Error`, which `source` skips.
        let mut error = error;
        while let Some(inner) = error.downcast_ref().and_then(io::Error::get_ref) {
            error = inner;
        }
        error.downcast_ref()
    })
}

/// Whether the server does not speak HTTP.
pub(super) fn is_other_protocol(error: &reqwest::Error) -> bool {
    sources(error).any(|error| error.downcast_ref().is_some_and(hyper::Error::is_parse))
}

fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn rejects_files_without_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let error = |path: &Path| format!("{:#}", Trust::with_authorities(Some(path)).unwrap_err());
        assert!(error(&path).contains("cannot read --ca"));
        for (text, expected) in [
            ("", "holds no certificates"),
            ("certificate", "holds no certificates"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "holds no"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(error(&path).contains(expected), "{text}: {}", error(&path));
        }
    }

    #[test]
    fn fingerprint_has_32_bytes() {
        assert!(Trust::in_certificate(None).unwrap().fingerprint.is_none());
        assert!(Trust::in_certificate(Some(&"0f".repeat(32))).unwrap().fingerprint.is_some());
        for wrong in ["", "0f", "zz"] {
            assert!(Trust::in_certificate(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
