//! Serving: listeners, HTTP connections, draining.

mod accept;
mod admission;
mod config;
mod drain;
mod listen;
mod memory;
mod proxies;
mod run;

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

pub(crate) use admission::{Address, Admission, Refused, Seat, SocketSeat};
pub use config::ServerConfig;
pub use drain::AppHandle;
pub use proxies::{ClientIp, ProxyHeader};
pub(crate) use proxies::{OverTls, TrustedProxies};
pub(crate) use run::run;

use crate::Result;
use crate::config::Config;

/// An app, built.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    router: axum::Router,
    http: http1::Builder,
    pub(crate) handle: AppHandle,
}

impl Server {
    pub(crate) fn new(router: axum::Router, config: &Config, server: &ServerConfig, handle: AppHandle) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(config.handshake_timeout)
            .max_buf_size(server.head_size)
            .max_headers(server.head_lines);
        Self { router, http, handle }
    }

    /// Accepts until shutdown, then drains.
    pub(crate) async fn serve(self, listeners: Vec<TcpListener>) -> Result {
        join_all(listeners.iter().map(|listener| accept::accept_all(&self, listener))).await;
        drop(listeners);
        self.handle.drain().await;
        Ok(())
    }

    /// Speaks HTTP on a socket until it ends or becomes a WebSocket.
    pub(crate) async fn serve_tcp(self, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        self.serve_connection(TokioIo::new(stream), Some(peer), Some(seat)).await;
    }

    fn admit(&self, peer: IpAddr) -> Result<Seat, Refused> {
        // Whom a proxy has forwarded for is known with the request.
        let is_proxy = self.handle.config().proxies.trusts(peer);
        self.handle.connections().admission().admit((!is_proxy).then_some(peer))
    }

    /// Speaks HTTP on anything that is like a socket.
    pub(crate) async fn serve_stream(self, stream: tokio::io::DuplexStream) {
        self.serve_connection(TokioIo::new(stream), None, None).await;
    }

    async fn serve_connection<I>(self, io: I, peer: Option<SocketAddr>, seat: Option<Seat>)
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let Self { router, http, handle } = self;
        let seat = seat.map(|seat| SocketSeat::new(peer, seat));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            if let Some(seat) = &seat {
                request.extensions_mut().insert(seat.clone());
            }
            router.clone().oneshot(request.map(axum::body::Body::new))
        });
        let mut connection = std::pin::pin!(http.serve_connection(io, service).with_upgrades());
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = handle.stops_accepting() => {
                // A request that is being answered is answered; an idle connection ends.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "http connection ended");
        }
    }
}
