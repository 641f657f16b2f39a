//! Tests of an app, without a port.

pub mod backplane;

use std::fmt;

use axum::response::Response;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Request};

use crate::client::{Connect, path_and_query};
use crate::server::{AppHandle, Server};
use crate::{App, Config, Result, WebSocket};

/// How much an in-process connection buffers in each direction, in bytes: about what a socket does.
const PIPE: usize = 64 * 1024;

/// The host of all requests that name no other.
const TEST_HOST: &str = "test";

/// Connects to an app in the same process: no port is opened, and everything from the HTTP parser to the closing
/// handshake is the same code as over a socket.
///
/// ```
/// use nexios::prelude::*;
/// use nexios::testing::TestClient;
///
/// async fn echo(mut websocket: WebSocket) -> nexios::Result {
///     websocket.accept().await?;
///     let text = websocket.receive_text().await?;
///     websocket.send_text(format!("Message text was: {text}")).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nexios::Result {
/// let client = TestClient::new(App::new().websocket_route("/ws", echo));
/// let mut websocket = client.connect("/ws").await?;
/// websocket.send_text("hello").await?;
/// assert_eq!(websocket.receive_text().await?, "Message text was: hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TestClient {
    server: Server,
}

impl TestClient {
    /// A client of this app.
    pub fn new<S>(app: App<S>) -> Self
    where
        S: Clone + Send + Sync + 'static,
    {
        Self { server: app.into_server() }
    }

    /// Connects to a path, which may have a query.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`](crate::Error::Connect), with the response when the app refused.
    pub async fn connect(&self, path: &str) -> Result<WebSocket> {
        self.request(path).connect().await
    }

    /// Begins a handshake to which headers and subprotocols can be added.
    pub fn request(&self, path: &str) -> TestRequest {
        TestRequest { server: self.server.clone(), connect: Connect::new(format!("ws://{TEST_HOST}{path}")) }
    }

    /// Sends a plain GET, to the HTTP side of the app or to see how a route answers it.
    ///
    /// # Errors
    ///
    /// When the path is no valid one or no response came.
    pub async fn get(&self, path: &str) -> Result<Response> {
        let target = path_and_query(path).map_err(crate::Error::from)?;
        let request = Request::get(target).body(axum::body::Body::empty());
        self.http(request.map_err(crate::Error::other)?).await
    }

    /// Sends any HTTP request, as HTTP/1.1. One without a `Host` header is sent with that of its URI, or with `test` as
    /// [`get`](Self::get) does.
    ///
    /// # Errors
    ///
    /// When no response came.
    pub async fn http(&self, mut request: Request<axum::body::Body>) -> Result<Response> {
        if !request.headers().contains_key(HOST) {
            let host = request.uri().authority().map_or(TEST_HOST, |authority| authority.as_str());
            // RFC 9110 §7.2: without the user.
            let host = host.rsplit('@').next().unwrap_or_default();
            let host = HeaderValue::try_from(host).map_err(crate::Error::other)?;
            request.headers_mut().insert(HOST, host);
        }
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(self.pipe()).await.map_err(crate::Error::other)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(crate::Error::other)?;
        Ok(response.map(axum::body::Body::new))
    }

    /// A handle to the app, to shut it down or to count its connections.
    pub fn handle(&self) -> AppHandle {
        self.server.handle.clone()
    }

    fn pipe(&self) -> hyper_util::rt::TokioIo<tokio::io::DuplexStream> {
        pipe(&self.server)
    }
}

fn pipe(server: &Server) -> hyper_util::rt::TokioIo<tokio::io::DuplexStream> {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    tokio::spawn(server.clone().serve_stream(theirs));
    hyper_util::rt::TokioIo::new(ours)
}

/// A handshake of a [`TestClient`] in the making.
#[derive(Debug)]
pub struct TestRequest {
    server: Server,
    connect: Connect,
}

impl TestRequest {
    /// Adds a header. `Host` takes the place of the one that is sent otherwise, `test`; of all others, those that
    /// [`Connect::header`] refuses make [`connect`](Self::connect) an error.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.connect = match name.try_into() {
            Ok(HOST) => self.connect.host(value),
            Ok(name) => self.connect.header(name, value),
            // What is no name is an error of the client's, too.
            Err(_) => self.connect.header("", value),
        };
        self
    }

    /// Sets the client's own limits, deadlines and compression.
    pub fn config(mut self, config: Config) -> Self {
        self.connect = self.connect.config(config);
        self
    }

    /// Offers a subprotocol; the first one offered is the one preferred.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.connect = self.connect.subprotocol(name);
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// As for [`TestClient::connect`].
    pub async fn connect(self) -> Result<WebSocket> {
        let io = pipe(&self.server);
        self.connect.over(io).await
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient").field("handle", &self.server.handle).finish()
    }
}
