//! Certificates for 127.0.0.1 and localhost, in files that go with the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nexios::Tls;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A folder with `certificate.pem`, which is its own authority, and `key.pem`.
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("nexios-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let certificates = Self { folder };
        certificates.renew();
        certificates
    }

    /// Puts another certificate and key in place of the ones before.
    pub(crate) fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        std::fs::write(self.certificate(), certificate.pem()).unwrap();
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    pub(crate) fn tls(&self) -> Tls {
        Tls::from_files(self.certificate(), self.key()).unwrap()
    }

    /// A client's settings that trust this certificate and offer these protocols.
    pub(crate) fn client(&self, versions: Versions, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

pub(crate) type Versions = &'static [&'static rustls::SupportedProtocolVersion];
pub(crate) static TLS_1_2: Versions = &[&rustls::version::TLS12];
pub(crate) static TLS_1_3: Versions = &[&rustls::version::TLS13];
pub(crate) static ALL: Versions = rustls::ALL_VERSIONS;

/// Does a TLS handshake on a new connection.
pub(crate) async fn connect(
    address: std::net::SocketAddr,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(config).connect(name, stream).await
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
