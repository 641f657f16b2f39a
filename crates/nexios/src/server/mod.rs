//! Serving: listeners, HTTP connections, draining.

mod accept;
mod admission;
mod answer;
mod behind;
mod body;
mod config;
mod data_rate;
mod doors;
mod drain;
mod forwarded;
#[cfg(feature = "tls")]
mod frames;
mod head;
mod head_memory;
mod http1;
#[cfg(feature = "tls")]
mod http2;
mod listen;
mod memory;
mod operator;
mod pace;
#[cfg(feature = "tls")]
mod paced_stream;
mod proxies;
mod rate_table;
mod refusal;
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
pub(crate) use doors::{Doors, InProcess};
pub use drain::AppHandle;
pub(crate) use drain::WeakHandle;
pub(crate) use head::HeadDeadline;
pub(crate) use head_memory::HeadMemory;
#[cfg(feature = "tls")]
pub(crate) use http2::StreamGuard;
pub use proxies::{ClientIp, ProxyHeader};
pub(crate) use proxies::{OverTls, TrustedProxies};
pub(crate) use rate_table::SharedBucket;
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
    doors: Arc<Doors>,
    /// What the name was that its address was found by.
    bound: Option<Arc<str>>,
    operator: Option<operator::Operator>,
    /// `/healthz` is one of its pages.
    answers_health: bool,
    pub(crate) handle: AppHandle,
}

/// A connection that was just accepted.
#[derive(Clone, Debug)]
struct Arrival {
    peer: Option<SocketAddr>,
    seat: Option<SocketSeat>,
    is_over_tls: bool,
    doors: Option<Arc<Doors>>,
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
        if let Some(doors) = &self.doors {
            extensions.insert(Arc::clone(doors));
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
            doors: Arc::new(Doors::in_process(&handle)),
            bound: None,
            operator: None,
            answers_health: false,
            handle,
        }
    }

    /// Its pages for the operator are on an address of their own.
    pub(crate) fn with_operator(self, operator: Option<(String, axum::Router)>) -> Self {
        let operator = operator.map(|(address, router)| operator::Operator::new(address, router, &self.handle));
        Self { operator, ..self }
    }

    /// A probe of `/healthz` is answered also where its connection is refused.
    pub(crate) fn with_health(self, answers_health: bool) -> Self {
        Self { answers_health, ..self }
    }

    /// It listens where this name leads to.
    fn bound_to(self, name: Option<Arc<str>>) -> Self {
        Self { bound: name, ..self }
    }

    /// Answers to the hosts that this listener may be asked for.
    fn behind(&self, listener: &TcpListener) -> Self {
        let doors = Doors::of_listener(&self.handle, listener.local_addr().ok(), self.bound.as_ref());
        Self { doors: Arc::new(doors), ..self.clone() }
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
        let operator = match &self.operator {
            Some(operator) => Some(operator.begin().await?),
            None => None,
        };
        join_all(listeners.iter().map(|listener| accept::accept_all(self.behind(listener), listener))).await;
        drop(listeners);
        self.handle.drain().await;
        drop(operator);
        Ok(())
    }

    /// Speaks HTTP on a socket until it ends or becomes a WebSocket. Every deadline counts from here.
    pub(crate) async fn serve_tcp(self, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        // What is written here is whole already: nothing gains by waiting for more.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let deadline = pace::after(self.handshake_timeout);
        let arrival = Arrival {
            peer: Some(peer),
            seat: Some(SocketSeat::new(Some(peer), seat)),
            is_over_tls: false,
            doors: Some(Arc::clone(&self.doors)),
            deadline,
        };
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
        let doors = Some(Arc::clone(&self.doors));
        let arrival = Arrival { peer: None, seat: None, is_over_tls: false, doors, deadline };
        self.serve_http1(stream, arrival).await;
    }
}
