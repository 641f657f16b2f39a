//! HTTP/2 on one connection: requests, and many `WebSocket`s (RFC 8441).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::config::ServerConfig;
use super::data_rate::MinDataRate;
use super::frames::{FIRST_INCREMENT, FrameLimit};
use super::head_memory::{self, HeadMemory};
use super::pace::{Pace, after};
use super::paced_stream::{Handed, PacedAnswer, PacedExecutor};
use super::{Arrival, Server};
use crate::memory_budget::Budget;

/// Requests and sockets that one connection may have at a time.
const STREAMS: u32 = 256;

/// What one stream's peer may send before it is read, in bytes: as much as a connection's inbox holds.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all streams of a connection together, which holds no more than this: 64 handlers that do not read stop
/// their own connection. h2 also takes a half of this as the bound on what frames smaller than 256 bytes cost beside their
/// payload while nobody reads them, and ends a connection that goes beyond (`ENHANCE_YOUR_CALM`).
pub(super) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// What h2 takes for one stream before it waits for the peer, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// What h2 unpacks of a list of headers at least, in bytes. Beyond its own limit it answers 431 only if the rest of the list is
/// not longer than the limit either, and else ends the connection; so it has a larger one than `head_size`.
const DECODED: usize = 64 * 1024;

/// How long a connection that is to end may keep streams of which nothing is left here.
const FAREWELL: Duration = Duration::from_secs(5);

/// Connections are looked at no more often than this.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// The settings of every HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Builder {
    http: http2::Builder<PacedExecutor>,
    head_size: usize,
    head_lines: usize,
    /// A connection without a request or a WebSocket is closed after two to three of these, as it is looked at so often.
    period: Duration,
}

impl Builder {
    pub(super) fn new(server: &ServerConfig) -> Self {
        let mut http = http2::Builder::new(PacedExecutor(server.min_response_rate));
        http.enable_connect_protocol()
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(server.head_size.max(DECODED)).unwrap_or(u32::MAX));
        Self {
            http,
            head_size: server.head_size,
            head_lines: server.head_lines,
            period: (server.keep_alive / 2).max(SHORTEST_PERIOD),
        }
    }
}

/// What a connection is used for.
#[derive(Debug, Default)]
pub(super) struct Activity {
    streams: AtomicUsize,
    /// All streams that there ever were.
    begun: AtomicUsize,
    /// Bytes of `DATA` frames that came, that were read or given up here, and for which the peer's window was opened again.
    received: AtomicUsize,
    read: AtomicUsize,
    released: AtomicUsize,
}

/// A stream that is in use as long as one of these lives.
#[derive(Clone, Debug)]
pub(crate) struct StreamGuard(Arc<InUse>);

#[derive(Debug)]
struct InUse(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> StreamGuard {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        StreamGuard(Arc::new(InUse(Arc::clone(self))))
    }

    fn is_idle(&self) -> bool {
        self.streams.load(Ordering::Relaxed) == 0
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    fn was_read(&self, bytes: usize) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The window of the connection was opened by so much: for all that was read or given up until now.
    pub(super) fn released(&self, bytes: usize) {
        let released = self.released.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.read.fetch_max(released.saturating_sub(FIRST_INCREMENT), Ordering::Relaxed);
    }

    /// Bytes that h2 holds for whoever is to read them.
    pub(super) fn unread(&self) -> usize {
        let received = self.received.load(Ordering::Relaxed);
        if self.is_idle() {
            self.read.store(received, Ordering::Relaxed);
        }
        received.saturating_sub(self.read.load(Ordering::Relaxed))
    }
}

impl StreamGuard {
    /// So many bytes of the stream were read.
    pub(crate) fn was_read(&self, bytes: usize) {
        self.0.0.was_read(bytes);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Speaks HTTP/2. The first request is due at the arrival's deadline.
    pub(super) async fn serve_http2<S>(self, stream: S, arrival: Arrival)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { router, http2, handle, budget, .. } = self;
        let deadline = arrival.deadline;
        let activity = Arc::<Activity>::default();
        let pace = Pace::new(handle.config().min_response_rate);
        let stream = FrameLimit::new(stream, pace, Arc::clone(&activity), Arc::clone(&budget));
        let body_rate = handle.config().min_request_rate;
        let terms = Terms { head_size: http2.head_size, head_lines: http2.head_lines, body_rate, budget };
        let streams = Arc::clone(&activity);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let guard = streams.begin();
            arrival.note(request.extensions_mut());
            if request.method() == Method::CONNECT {
                request.extensions_mut().insert(guard.clone());
            }
            respond(router.clone(), request, terms.clone(), Handed::begin(), guard)
        });
        let mut connection = pin!(http2.http.serve_connection(TokioIo::new(stream), service));
        let mut look = pin!(sleep_until(deadline));
        let (mut seen, mut was_idle, mut unused, mut is_closing) = (0, true, 0, false);
        let result = loop {
            tokio::select! {
                result = connection.as_mut() => break result,
                () = handle.stops_accepting(), if !is_closing => {
                    // No more streams are taken; those that there are end by themselves (RFC 9113 §6.8).
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + FAREWELL);
                }
                () = look.as_mut() => {
                    let (before, is_idle) = (seen, activity.is_idle());
                    seen = activity.begun();
                    let was_unused = std::mem::replace(&mut was_idle, is_idle) && seen == before;
                    unused = if is_idle && was_unused { unused + 1 } else { 0 };
                    if unused >= 2 || (unused == 1 && (is_closing || seen == 0)) {
                        if is_closing || seen == 0 {
                            tracing::debug!("http/2 connection cut: nothing happens on it");
                            return;
                        }
                        is_closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    look.as_mut().reset(after(if is_closing { FAREWELL } else { http2.period }));
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "http/2 connection ended");
        }
    }
}

/// What each request of a connection is bound to.
#[derive(Clone)]
struct Terms {
    head_size: usize,
    head_lines: usize,
    body_rate: Option<MinDataRate>,
    budget: Arc<Budget>,
}

async fn respond(
    router: axum::Router,
    request: Request<Incoming>,
    terms: Terms,
    handed: Arc<Handed>,
    guard: StreamGuard,
) -> Result<Response<PacedAnswer<StreamGuard>>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let response = if parts.headers.len() > terms.head_lines || head_memory::size(&parts) > terms.head_size {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()
    } else if let Err(refused) = HeadMemory::reserve(&terms.budget, &mut parts) {
        refused.into_response()
    } else {
        crate::routing::unify(&mut parts);
        match super::doors::check(&mut parts) {
            Ok(()) => {
                let reading = guard.clone();
                let request = Request::from_parts(parts, body);
                super::body::answer(router, request, terms.body_rate, move |bytes| reading.was_read(bytes)).await
            }
            Err(refusal) => refusal,
        }
    };
    Ok(response.map(|body| PacedAnswer::new(body, handed, guard)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use h2::client::SendRequest;
    use h2::ext::Protocol;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::{App, WebSocket};

    struct Client {
        requests: SendRequest<Bytes>,
        connection: JoinHandle<Result<(), h2::Error>>,
        began: Instant,
    }

    /// A connection to an app with a page and a handler that waits for ever.
    async fn connect() -> Client {
        async fn wait(mut websocket: WebSocket) -> crate::Result {
            websocket.accept().await?;
            websocket.receive().await.map(drop)
        }
        let http = axum::Router::new().route("/", axum::routing::get(async || "page"));
        let server = App::new().http(http).websocket_route("/ws", wait).into_server();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let began = Instant::now();
        let deadline = began + server.handshake_timeout;
        let arrival =
            Arrival { peer: Some(([127, 0, 0, 1], 1).into()), seat: None, is_over_tls: true, doors: None, deadline };
        tokio::spawn(server.serve_http2(theirs, arrival));
        let (requests, connection) = h2::client::handshake(ours).await.unwrap();
        Client { requests, connection: tokio::spawn(connection), began }
    }

    impl Client {
        async fn ask(&mut self) {
            let request = Request::get("https://localhost/").body(()).unwrap();
            let (response, _) = self.requests.send_request(request, true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }

        /// When the connection ends, in seconds from its beginning.
        async fn ended(self) -> u64 {
            self.connection.await.unwrap().unwrap();
            self.began.elapsed().as_secs()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_cut_at_the_deadline() {
        assert_eq!(connect().await.ended().await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_a_minute_and_a_half_at_the_latest() {
        let mut client = connect().await;
        client.ask().await;
        assert_eq!(client.ended().await, 70);
        let mut client = connect().await;
        for _ in 0..10 {
            client.ask().await;
            tokio::time::sleep(Duration::from_secs(29)).await;
        }
        assert!((290..350).contains(&client.ended().await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_websocket_is_in_use() {
        let mut client = connect().await;
        while !client.requests.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "https://localhost/ws".parse().unwrap();
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
        let (response, mut sending) = client.requests.send_request(request, false).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        // Not for ever: a peer that answers no ping has gone (keepalive, 40 s).
        tokio::time::sleep(Duration::from_secs(35)).await;
        assert!(!client.connection.is_finished());
        sending.send_reset(h2::Reason::CANCEL);
        assert!((60..110).contains(&client.ended().await));
    }
}
