//! Certificates and keys, from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::TlsError;
use crate::{Error, Result};

/// RFC 7301 §6, RFC 9113 §3.1.
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Settings of TLS with what is in the two files now.
pub(super) fn load(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let certified = certified_key(certificates, key, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(Error::other)?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(Single(Arc::new(certified))));
    // What the client prefers does not matter: one that offers both is better off with one connection for all.
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    // A client that comes back shows its ticket, and costs no signature. The key of the tickets is drawn anew with each
    // reading of the files.
    config.ticketer = ring::Ticketer::new().map_err(Error::other)?;
    Ok(Arc::new(config))
}

/// One certificate, whatever name a client asks for.
#[derive(Debug)]
struct Single(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Single {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn certified_key(
    certificates: &Path,
    key: &Path,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(certificates, error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificates.into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(key.into()),
        error => unreadable(key, error),
    })?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::KeyMismatch { certificates: certificates.into(), key: key.into() }
        }
        rustls::Error::InvalidCertificate(_) => invalid(certificates, &error),
        _ => invalid(key, &error),
    })
}

fn unreadable(file: &Path, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Read { file: file.into(), source },
        error => invalid(file, &error),
    }
}

fn invalid(file: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::Invalid { file: file.into(), reason: error.to_string().into() }
}

/// Digest of what is in the two files. Times and sizes do not tell: a renewed certificate is often as long as the old one, and
/// may be copied with its time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<[u8; 32]>; 2]);

impl Stamp {
    pub(super) fn of(certificates: &Path, key: &Path) -> Self {
        let digest = |file: &Path| {
            let content = std::fs::read(file).ok()?;
            Some(Sha256::digest(&content).into())
        };
        Self([digest(certificates), digest(key)])
    }
}
