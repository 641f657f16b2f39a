//! TLS: a certificate and a key in files, which can be read again.

mod error;
mod files;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

pub use error::TlsError;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::files::Stamp;
use self::watch::Hangups;
use super::{Arrival, Server};
use crate::Result;

/// What [`App::tls`](crate::App::tls) serves with: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2 (by ALPN), one certificate.
///
/// The files are read again by [`reload`](Self::reload). [`App::run`](crate::App::run) does so by itself: on SIGHUP, and
/// within a minute after either file has changed.
///
/// It is a handle: all clones are one and the same.
///
/// ```no_run
/// # fn main() -> nexios::Result {
/// use nexios::{App, Tls};
///
/// let tls = Tls::from_files("/etc/ssl/example.org/fullchain.pem", "/etc/ssl/example.org/privkey.pem")?;
/// App::new().tls(tls).bind("0.0.0.0:443").run()
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    certificates: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// What was in the files when they were read last, also when that failed.
    stamp: Stamp,
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its private key (PKCS #8, PKCS #1 or SEC 1), both PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) names the file and what is wrong with it: it cannot be read, it has no
    /// certificate or no key in it, or the key is not the certificate's.
    pub fn from_files(certificate_chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self> {
        let (certificates, key) = (certificate_chain.into(), key.into());
        let stamp = Stamp::of(&certificates, &key);
        let config = files::load(&certificates, &key)?;
        let current = Mutex::new(Current { config, stamp });
        Ok(Self { inner: Arc::new(Inner { certificates, key, current }) })
    }

    /// Reads the files again. Handshakes from now on have the new certificate, also those of clients that would resume an
    /// old session; open connections go on.
    ///
    /// # Errors
    ///
    /// As for [`from_files`](Self::from_files): then everything stays as it was.
    pub fn reload(&self) -> Result {
        let Inner { certificates, key, .. } = &*self.inner;
        // The stamp comes first: a file that is written meanwhile is read once more.
        let stamp = Stamp::of(certificates, key);
        let config = files::load(certificates, key);
        let mut current = self.lock();
        current.stamp = stamp;
        current.config = config?;
        Ok(())
    }

    /// Whether something else is in the files than what was read last.
    fn has_changed(&self) -> bool {
        Stamp::of(&self.inner.certificates, &self.inner.key) != self.lock().stamp
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock().config)
    }

    /// Speaks TLS, and in it HTTP/1.1 alone.
    pub(super) async fn accept_http1(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut config = (*self.config()).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config)).accept(stream).await
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.inner.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Renews the certificate while the runtime runs.
    pub(super) fn watch_certificate(&self, runtime: &Runtime) {
        if let Some(tls) = self.tls.clone() {
            let _inside = runtime.enter();
            runtime.spawn(watch::watch(tls, Hangups::new()));
        }
    }

    /// Speaks TLS, and in it what was agreed on. All of the handshake and the first request's head are due at the arrival's deadline.
    pub(super) async fn serve_tls(self, tls: Tls, stream: TcpStream, mut arrival: Arrival) {
        arrival.is_over_tls = true;
        let peer = arrival.peer;
        let accept = TlsAcceptor::from(tls.config()).accept(stream);
        let stream = tokio::select! {
            accepted = timeout_at(arrival.deadline, accept) => match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(?peer, %error, "tls handshake failed"),
                Err(_) => return tracing::debug!(?peer, "tls handshake took too long"),
            },
            () = self.handle.stops_accepting() => return,
        };
        if stream.get_ref().1.alpn_protocol() == Some(files::HTTP_2) {
            self.serve_http2(stream, arrival).await;
        } else {
            self.serve_http1(stream, arrival).await;
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { certificates, key, .. } = &*self.inner;
        f.debug_struct("Tls").field("certificates", certificates).field("key", key).finish_non_exhaustive()
    }
}
