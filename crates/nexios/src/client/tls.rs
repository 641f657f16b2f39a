//! `wss://`: TLS to a server whose certificate is checked.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::ConnectError;

/// Certificates that browsers trust (Mozilla's list, as of when `webpki-roots` was published).
static PUBLIC: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    config(roots)
});

/// Does the handshake; `roots` is a file with the certificates to trust instead of the public ones.
pub(super) async fn connect(
    stream: TcpStream,
    host: &Host,
    roots: Option<&Path>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let config = match roots {
        Some(file) => config(read_roots(file)?),
        None => PUBLIC.clone(),
    };
    let config = config.map_err(|error| ConnectError::Tls(error.into()))?;
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|error| ConnectError::Url(format!("{name:?} cannot be in a certificate: {error}")))?,
        Host::Ipv4(address) => IpAddr::V4(*address).into(),
        Host::Ipv6(address) => IpAddr::V6(*address).into(),
    };
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| ConnectError::Tls(error.into()))
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    // Its own, not the process's: that one is the program's to choose, which may have another, or none.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_roots(file: &Path) -> Result<RootCertStore, ConnectError> {
    let unusable = |why: &dyn std::fmt::Display| ConnectError::Tls(format!("{}: {why}", file.display()).into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"there is no certificate in it"));
    }
    Ok(roots)
}
