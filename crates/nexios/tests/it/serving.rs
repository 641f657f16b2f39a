//! Apps on real sockets and on bare pipes, for tests that speak the protocol by hand.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use nexios::{App, AppHandle};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::wire::Wire;

/// An app that listens on a port of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: AppHandle,
    pub(crate) serving: JoinHandle<nexios::Result>,
}

pub(crate) async fn serve<S: Clone + Send + Sync + 'static>(app: App<S>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = app.handle();
    let serving = tokio::spawn(app.serve(listener));
    Running { address, handle, serving }
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// A raw socket on which the opening handshake is over.
    pub(crate) async fn upgrade(&self, path: &str) -> Wire {
        Wire::upgrade(self.address, path).await
    }

    pub(crate) async fn wait_for_connections(&self, wanted: usize) {
        wait_for_connections(&self.handle, wanted).await;
    }
}

/// Waits until the app has so many connections.
pub(crate) async fn wait_for_connections(handle: &AppHandle, wanted: usize) {
    for _ in 0..500 {
        if handle.connection_count() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} connections instead of {wanted} after 5 s", handle.connection_count());
}

/// A hand-made client on a pipe instead of a socket, so that a test can stop the clock. Counts the server's writes.
pub(crate) fn pipe<S: Clone + Send + Sync + 'static>(app: App<S>) -> (Wire<DuplexStream>, Arc<AtomicUsize>) {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    serve_on(CountsWrites { stream: theirs, writes: Arc::clone(&writes) }, app);
    (Wire::new(ours), writes)
}

/// Serves an app on anything that reads and writes.
pub(crate) fn serve_on<S: Clone + Send + Sync + 'static>(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    app: App<S>,
) {
    let router: axum::Router = app.into_router();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let http = hyper::server::conn::http1::Builder::new();
    tokio::spawn(http.serve_connection(TokioIo::new(io), service).with_upgrades());
}

struct CountsWrites {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for CountsWrites {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountsWrites {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Fails the test instead of hanging it.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future).await.expect("this took longer than 5 s")
}

pub(crate) async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
