//! A client: for services that connect to others, and for tests.

#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use nexios_proto::Role;
use nexios_proto::handshake::client as handshake;
use tokio::net::TcpStream;

use crate::Result;
use crate::config::Config;
use crate::connection::{ConnectionTask, Link, Settings, Transport};
use crate::observe::Meter;
use crate::server::TrustedProxies;
use crate::websocket::{WebSocket, header_pairs};

/// The most of a refusal's body that is kept, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// Connects to a server: `ws://host:port/path`, and with the feature `tls` `wss://`.
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
pub struct Connect {
    url: String,
    headers: HeaderMap,
    subprotocols: Vec<String>,
    config: Config,
    invalid_header: bool,
    #[cfg(feature = "tls")]
    ca_file: Option<std::path::PathBuf>,
}

/// Where to connect to.
struct Address {
    text: String,
    #[cfg(feature = "tls")]
    host: String,
    #[cfg(feature = "tls")]
    is_secure: bool,
}

/// Why a client has no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none that can be connected to; the text says why.
    #[error("invalid URL: {0}")]
    Url(String),
    /// A header or subprotocol that cannot be sent.
    #[error("a header or subprotocol of the request is not valid")]
    Header,
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
            headers: HeaderMap::new(),
            subprotocols: Vec::new(),
            config: Config::default(),
            invalid_header: false,
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

    /// Adds a header to the handshake.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => self.invalid_header = true,
        }
        self
    }

    /// Offers a subprotocol; the first one offered is the one preferred.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Sets limits, deadlines and compression.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`](crate::Error::Connect).
    pub async fn connect(self) -> Result<WebSocket> {
        let timeout = self.config.handshake_timeout;
        let connected = async {
            let address = self.address()?;
            let stream = TcpStream::connect(address.text).await.map_err(|error| ConnectError::Io(error.into()))?;
            let peer = stream.peer_addr().ok();
            #[cfg(feature = "tls")]
            if address.is_secure {
                let _ = stream.set_nodelay(true);
                let stream = tls::connect(stream, &address.host, self.ca_file.as_deref()).await?;
                return self.over(TokioIo::new(stream), peer).await;
            }
            self.over(TokioIo::new(stream), peer).await
        };
        tokio::time::timeout(timeout, connected).await.unwrap_or(Err(ConnectError::Timeout(timeout).into()))
    }

    fn address(&self) -> Result<Address, ConnectError> {
        let uri = self.uri()?;
        let is_secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") if cfg!(feature = "tls") => true,
            Some("wss" | "https") => {
                return Err(ConnectError::Url("TLS needs nexios with the feature `tls`".to_owned()));
            }
            _ => {
                return Err(ConnectError::Url(format!("{:?} does not begin with ws:// or wss://", self.shown_url())));
            }
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| ConnectError::Url(format!("{:?} has no host", self.shown_url())))?;
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Address {
            text: format!("{host}:{port}"),
            #[cfg(feature = "tls")]
            host: host.to_owned(),
            #[cfg(feature = "tls")]
            is_secure,
        })
    }

    fn uri(&self) -> Result<Uri, ConnectError> {
        self.url.parse().map_err(|error| ConnectError::Url(format!("{:?}: {error}", self.shown_url())))
    }

    /// For logs and errors: without a query, a user or a password, where secrets stand.
    fn shown_url(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }

    /// Does the handshake over a socket, or something like it.
    pub(crate) async fn over<I>(self, io: I, peer: Option<SocketAddr>) -> Result<WebSocket>
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let key = handshake::key_from(rand::random());
        let request = self.request(&key)?;
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
        let (route, config) = (self.shown_url().into(), self.config.clone());
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
        Ok(WebSocket::connected(link, self.parts(response), peer))
    }

    fn request(&self, key: &str) -> Result<Request<Empty<Bytes>>, ConnectError> {
        if self.invalid_header {
            return Err(ConnectError::Header);
        }
        let uri = self.uri()?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(target).header(header::HOST, host);
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
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }

    /// What the client's `WebSocket` shows: the URL that was asked for, and the server's headers.
    fn parts(&self, response: Response<hyper::body::Incoming>) -> http::request::Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = self.uri().unwrap_or_default();
        parts.headers = response.into_parts().0.headers;
        parts
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("url", &self.shown_url()).field("config", &self.config).finish_non_exhaustive()
    }
}

async fn with_body(response: Response<hyper::body::Incoming>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    let body =
        Limited::new(body, BODY_MAX).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(parts, body)
}
