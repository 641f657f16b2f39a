//! A client: for services that connect to others, and for tests.

mod dial;
mod target;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use nexios_proto::Role;
use nexios_proto::handshake::{client as handshake, is_token};
pub(crate) use target::path_and_query;
use target::{Target, shown};

use crate::Result;
use crate::config::Config;
use crate::connection::{ConnectionTask, Link, Settings, Transport};
use crate::observe::Meter;
use crate::server::TrustedProxies;
use crate::websocket::{WebSocket, header_pairs, is_reserved};

/// The most of a refusal's body that is kept, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// Connects to a server: `ws://host:port/path`, and with the feature `tls` `wss://`. [`Connect`] tells how a URL is read.
///
/// What it returns is the same [`WebSocket`] that handlers have, accepted already; dropping it closes with 1000.
///
/// ```no_run
/// # async fn example() -> nexios::Result {
/// let mut websocket = nexios::client::connect("ws://127.0.0.1:8000/ws").await?;
/// websocket.send_text("hello").await?;
/// println!("{}", websocket.receive_text().await?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Connect`](crate::Error::Connect).
pub async fn connect(url: impl Into<String>) -> Result<WebSocket> {
    Connect::new(url).connect().await
}

/// A connection in the making: headers, subprotocols, limits.
///
/// # URLs
///
/// A URL is read as browsers read it (the URL Standard): a missing path is `/`, also before a query; what is not ASCII is
/// percent-encoded, in names of hosts by IDNA; the port may be left out, and one that is the scheme's own (80, 443) is not
/// in `Host`. `http://` and `https://` are taken for `ws://` and `wss://`. A fragment is never sent: it has no meaning here,
/// and a `#` that belongs to the path or query is written `%23` (RFC 6455 §3).
///
/// A user and a password, `wss://user:password@host/`, are sent as `Authorization: Basic` (RFC 7617), percent-decoded, unless an
/// `Authorization` header is given; they are in no log line and no error of Nexios, and `Host` is without them.
///
/// # Addresses
///
/// A name with several addresses is tried as RFC 8305 says: families in turn, the next address after 250 ms or as soon as one
/// has failed, and the first that connects is taken. All of it is due within
/// [`Config::handshake_timeout`](crate::Config::handshake_timeout) (10 s).
pub struct Connect {
    url: String,
    host: Option<HeaderValue>,
    headers: HeaderMap,
    subprotocols: Vec<String>,
    config: Config,
    error: Option<ConnectError>,
    #[cfg(feature = "tls")]
    ca_file: Option<std::path::PathBuf>,
}

/// Why a client has no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none that can be connected to; the text says why.
    #[error("invalid URL: {0}")]
    Url(String),
    /// A header that is none: a bad name, or a value with CR, LF or NUL (RFC 9110 §5.5).
    #[error("a header of the request is not valid")]
    Header,
    /// A header that the handshake itself sets (RFC 6455 §4.1), or that belongs to one hop of HTTP (RFC 9110 §7.6.1).
    /// `Host` is one: it is the URL's.
    #[error("the header {0:?} belongs to the handshake")]
    ReservedHeader(String),
    /// A subprotocol that is no token, or that is offered twice (RFC 6455 §4.1, item 10).
    #[error("the subprotocol {0:?} is no token, or is offered twice")]
    Subprotocol(String),
    /// The network, or the server's way of speaking HTTP.
    #[error("cannot connect: {0}")]
    Io(#[source] crate::error::BoxError),
    /// TLS failed: most often, the server's certificate is not trusted or is another name's.
    #[cfg(feature = "tls")]
    #[error("no TLS connection: {0}")]
    Tls(#[source] crate::error::BoxError),
    /// The handshake took longer than [`Config::handshake_timeout`].
    #[error("the handshake took longer than {0:?}")]
    Timeout(Duration),
    /// The server answered with something else than 101.
    #[error("the server refused: {}", .0.status())]
    Refused(Box<Response<Bytes>>),
    /// The server's 101 is not valid (RFC 6455 §4.1).
    #[error("invalid answer to the handshake: {0}")]
    Handshake(#[from] handshake::ClientHandshakeError),
}

impl ConnectError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        self.response().map(Response::status)
    }

    /// The response of a refusal, with at most 64 KiB of its body.
    pub fn response(&self) -> Option<&Response<Bytes>> {
        match self {
            Self::Refused(response) => Some(response),
            _ => None,
        }
    }
}

impl Connect {
    /// A connection to this URL, `ws://host:port/path` or `wss://host:port/path`. The port may be left out.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            host: None,
            headers: HeaderMap::new(),
            subprotocols: Vec::new(),
            config: Config::default(),
            error: None,
            #[cfg(feature = "tls")]
            ca_file: None,
        }
    }

    /// Trusts servers whose certificates come from those in this PEM file, instead of the public ones. It is read when
    /// connecting.
    #[cfg(feature = "tls")]
    pub fn ca_file(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Adds a header to the handshake. Those that the handshake sets itself cannot be given: `Host`, `Upgrade`, `Connection`,
    /// all of `Sec-WebSocket-*` ([`subprotocol`](Self::subprotocol) and [`config`](Self::config) are there for two of them),
    /// and those about a body or a single hop (`Content-Length`, `Transfer-Encoding`, `TE`, `Trailer`, `Keep-Alive`,
    /// `Proxy-Connection`). [`connect`](Self::connect) is then an error, before anything is sent.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), _) if is_reserved(&name) || name == header::HOST => {
                self.error.get_or_insert(ConnectError::ReservedHeader(name.to_string()));
            }
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => {
                self.error.get_or_insert(ConnectError::Header);
            }
        }
        self
    }

    /// Sends another `Host` than the URL's: for tests of what an app does with it.
    pub(crate) fn host(mut self, value: impl TryInto<HeaderValue>) -> Self {
        match value.try_into() {
            Ok(value) => self.host = Some(value),
            Err(_) => self.error = Some(ConnectError::Header),
        }
        self
    }

    /// Offers a subprotocol; the first one offered is the one preferred. One that is no token (RFC 9110 §5.6.2), as `a b` or
    /// nothing, or that was offered before makes [`connect`](Self::connect) an error, before anything is sent.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if is_token(name.as_bytes()) && !self.subprotocols.contains(&name) {
            self.subprotocols.push(name);
        } else {
            self.error.get_or_insert(ConnectError::Subprotocol(name));
        }
        self
    }

    /// Sets limits, deadlines and compression.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Connects.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropped, it leaves nothing behind but a socket that is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`](crate::Error::Connect).
    pub async fn connect(mut self) -> Result<WebSocket> {
        let target = self.target()?;
        let timeout = self.config.handshake_timeout;
        let connected = async {
            let stream = dial::dial(&target.host, target.port).await.map_err(|error| ConnectError::Io(error.into()))?;
            let peer = stream.peer_addr().ok();
            #[cfg(feature = "tls")]
            if target.is_secure {
                let stream = tls::connect(stream, &target.host, self.ca_file.as_deref()).await?;
                return self.handshake(TokioIo::new(stream), peer, target).await;
            }
            self.handshake(TokioIo::new(stream), peer, target).await
        };
        tokio::time::timeout(timeout, connected).await.unwrap_or(Err(ConnectError::Timeout(timeout).into()))
    }

    /// Connects over what is there already.
    pub(crate) async fn over<I>(mut self, io: I) -> Result<WebSocket>
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let target = self.target()?;
        self.handshake(io, None, target).await
    }

    /// What is to be asked for, if everything that was given can be sent.
    fn target(&mut self) -> Result<Target, ConnectError> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Target::parse(&self.url),
        }
    }

    /// Does the handshake over a socket, or something like it.
    async fn handshake<I>(self, io: I, peer: Option<SocketAddr>, target: Target) -> Result<WebSocket>
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let key = handshake::key_from(rand::random());
        let request = self.request(&key, &target)?;
        let io_error = |error: hyper::Error| ConnectError::Io(error.into());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(io_error)?;
        tokio::spawn(connection.with_upgrades());
        let mut response = sender.send_request(request).await.map_err(io_error)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ConnectError::Refused(Box::new(with_body(response).await)).into());
        }
        let deflate = self.config.compression.options(Role::Client);
        let (status, headers) = (response.status().as_u16(), header_pairs(response.headers()));
        let accepted = handshake::verify(status, headers, &key, &self.subprotocols, deflate.as_ref())
            .map_err(ConnectError::Handshake)?;
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(io_error)?;
        let (transport, read_ahead) = Transport::from_upgraded(upgraded);
        let (route, config) = (target.shown.into(), self.config.clone());
        let settings = Settings {
            role: Role::Client,
            route,
            config,
            on_error: None,
            budget: Arc::default(),
            meter: Meter::default(),
            proxies: TrustedProxies::default(),
            users: None,
            log_sums: crate::observe::LogSums::default(),
        };
        let link = Link::new(Arc::new(settings), None);
        if let Some(params) = accepted.deflate {
            link.agree(params);
        }
        link.open(transport, read_ahead);
        tokio::spawn(ConnectionTask::client(Arc::clone(&link)));
        // What it shows: the URL that was asked for, and the server's headers.
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = target.uri;
        parts.headers = response.into_parts().0.headers;
        Ok(WebSocket::connected(link, parts, peer))
    }

    fn request(&self, key: &str, target: &Target) -> Result<Request<Empty<Bytes>>, ConnectError> {
        let mut request = Request::get(&target.path_and_query).header(header::HOST, &target.authority);
        for (name, value) in handshake::request_headers(key) {
            request = request.header(name, value);
        }
        if !self.subprotocols.is_empty() {
            request = request.header(header::SEC_WEBSOCKET_PROTOCOL, self.subprotocols.join(", "));
        }
        if let Some(deflate) = self.config.compression.options(Role::Client) {
            request = request.header(header::SEC_WEBSOCKET_EXTENSIONS, deflate.offer());
        }
        let mut request = request.body(Empty::new()).map_err(|_| ConnectError::Header)?;
        let headers = request.headers_mut();
        if let Some(host) = &self.host {
            headers.insert(header::HOST, host.clone());
        }
        if let Some(authorization) = &target.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        // Those of the same name take the place of the URL's user.
        headers.extend(self.headers.clone());
        Ok(request)
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("url", &shown(&self.url)).field("config", &self.config).finish_non_exhaustive()
    }
}

async fn with_body(response: Response<hyper::body::Incoming>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    let body =
        Limited::new(body, BODY_MAX).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(parts, body)
}
