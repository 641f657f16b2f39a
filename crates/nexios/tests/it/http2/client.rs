//! A client of HTTP/2 whose streams are driven by hand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use crate::certificates::{Certificates, TLS_1_3, connect};
use crate::serving::within;
use crate::wire::Wire;

/// One connection.
pub(super) struct Http2 {
    pub(super) requests: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(super) connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(super) async fn tls(address: SocketAddr, certificates: &Certificates) -> Self {
        let config = certificates.client(TLS_1_3, &["h2"]);
        Self::over(connect(address, config).await.unwrap()).await
    }

    pub(super) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let mut builder = h2::client::Builder::new();
        // Unread small frames cost h2 more than their payload.
        builder.initial_connection_window_size(4 * 1024 * 1024);
        let (requests, connection) = within(builder.handshake(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        within(async {
            while !requests.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { requests, connection }
    }

    pub(super) async fn send(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut requests = within(self.requests.clone().ready()).await.unwrap();
        requests.send_request(request, ends).unwrap()
    }

    /// A request without a body: its answer with its body.
    pub(super) async fn get(&mut self, path: &str) -> Response<String> {
        let request = Request::get(format!("https://localhost{path}")).body(()).unwrap();
        let (response, _) = self.send(request, true).await;
        with_body(within(response).await.unwrap()).await
    }

    /// A handshake: the answer, and the stream if it is a socket.
    pub(super) async fn open(&mut self, request: Request<()>) -> (Response<()>, Stream) {
        let (response, sending) = self.send(request, false).await;
        let (head, receiving) = within(response).await.unwrap().into_parts();
        (Response::from_parts(head, ()), Stream { sending, receiving, unread: Bytes::new() })
    }

    pub(super) async fn upgrade(&mut self, path: &str) -> Wire<Stream> {
        let (response, stream) = self.open(handshake(path, &[])).await;
        assert_eq!(response.status(), 200, "{response:?}");
        Wire::new(stream)
    }
}

pub(super) async fn with_body(response: Response<RecvStream>) -> Response<String> {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = within(body.data()).await {
        text.extend_from_slice(&piece.unwrap());
    }
    Response::from_parts(head, String::from_utf8(text).unwrap())
}

/// An extended CONNECT, with further headers.
pub(super) fn handshake(path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let lines: &mut HeaderMap = request.headers_mut();
    lines.insert("sec-websocket-version", "13".parse().unwrap());
    for (name, value) in headers {
        lines.append(*name, value.parse().unwrap());
    }
    request
}

/// One stream, as a socket.
pub(super) struct Stream {
    pub(super) sending: SendStream<Bytes>,
    pub(super) receiving: RecvStream,
    unread: Bytes,
}

impl Stream {
    pub(super) fn reset(&mut self) {
        self.sending.send_reset(Reason::CANCEL);
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            match ready!(this.receiving.poll_data(cx)) {
                Some(piece) => this.unread = piece.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..len]);
        this.unread.advance(len);
        this.receiving.flow_control().release_capacity(len).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.sending.reserve_capacity(bytes.len());
        while this.sending.capacity() == 0 {
            match ready!(this.sending.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let len = bytes.len().min(this.sending.capacity());
        this.sending.send_data(Bytes::copy_from_slice(&bytes[..len]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
