//! Serving: listeners, HTTP connections, draining.

mod accept;
mod admission;
mod answer;
mod behind;
mod body;
mod config;
mod data_rate;
mod drain;
#[cfg(feature = "tls")]
mod frames;
mod head;
mod head_memory;
mod http1;
#[cfg(feature = "tls")]
mod http2;
mod listen;
mod memory;
mod pace;
#[cfg(feature = "tls")]
mod paced_stream;
mod proxies;
mod run;
mod stage;
#[cfg(feature = "tls")]
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

pub(crate) use admission::{Address, Admission, Refused, Seat, SocketSeat};
pub use config::ServerConfig;
pub use data_rate::MinDataRate;
pub use drain::AppHandle;
pub(crate) use drain::WeakHandle;
pub(crate) use head::HeadDeadline;
pub(crate) use head_memory::HeadMemory;
#[cfg(feature = "tls")]
pub(crate) use http2::StreamGuard;
pub use proxies::{ClientIp, ProxyHeader};
pub(crate) use proxies::{OverTls, TrustedProxies};
pub(crate) use run::{begin_to_log, run};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};

use crate::Result;
use crate::config::Config;
use crate::memory_budget::Budget;

/// An app, built.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    router: axum::Router,
    http1: Arc<hyper::server::conn::http1::Builder>,
    #[cfg(feature = "tls")]
    http2: Arc<http2::Builder>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    handshake_timeout: Duration,
    budget: Arc<Budget>,
    pub(crate) handle: AppHandle,
}

/// A connection that was just accepted.
#[derive(Clone, Debug)]
struct Arrival {
    peer: Option<SocketAddr>,
    seat: Option<SocketSeat>,
    is_over_tls: bool,
    /// For the head of its first request.
    deadline: Instant,
}

impl Arrival {
    /// What each of its requests is to know.
    fn note(&self, extensions: &mut http::Extensions) {
        if let Some(peer) = self.peer {
            extensions.insert(ConnectInfo(peer));
        }
        if let Some(seat) = &self.seat {
            extensions.insert(seat.clone());
        }
        if self.is_over_tls {
            extensions.insert(OverTls);
        }
    }
}

impl Server {
    pub(crate) fn new(
        router: axum::Router,
        config: &Config,
        server: &ServerConfig,
        budget: Arc<Budget>,
        handle: AppHandle,
    ) -> Self {
        Self {
            router,
            http1: Arc::new(http1::builder(server)),
            #[cfg(feature = "tls")]
            http2: Arc::new(http2::Builder::new(server)),
            #[cfg(feature = "tls")]
            tls: None,
            handshake_timeout: config.handshake_timeout,
            budget,
            handle,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// What its URLs begin with.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "there is no other than http then"))]
    fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// Accepts until shutdown, then drains.
    pub(crate) async fn serve(self, listeners: Vec<TcpListener>) -> Result {
        self.handle.check_backplane().await?;
        join_all(listeners.iter().map(|listener| accept::accept_all(&self, listener))).await;
        drop(listeners);
        self.handle.drain().await;
        Ok(())
    }

    /// Speaks HTTP on a socket until it ends or becomes a WebSocket. Every deadline counts from here.
    pub(crate) async fn serve_tcp(self, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        // What is written here is whole already: nothing gains by waiting for more.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let deadline = pace::after(self.handshake_timeout);
        let arrival =
            Arrival { peer: Some(peer), seat: Some(SocketSeat::new(Some(peer), seat)), is_over_tls: false, deadline };
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            // In a box: a plain connection must not have room for it.
            return Box::pin(self.serve_tls(tls, stream, arrival)).await;
        }
        self.serve_http1(stream, arrival).await;
    }

    fn admit(&self, peer: IpAddr) -> Result<Seat, Refused> {
        // Whom a proxy has forwarded for is known with the request.
        let is_proxy = self.handle.config().proxies.trusts(peer);
        self.handle.connections().admission().admit_socket((!is_proxy).then_some(peer))
    }

    /// Speaks HTTP on something that is like a socket.
    pub(crate) async fn serve_stream(self, stream: tokio::io::DuplexStream) {
        let deadline = pace::after(self.handshake_timeout);
        let arrival = Arrival { peer: None, seat: None, is_over_tls: false, deadline };
        self.serve_http1(stream, arrival).await;
    }
}
