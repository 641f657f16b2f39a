//! A stream of an HTTP/2 connection, as a socket.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is written at once: a DATA frame of the greatest size that every peer takes (RFC 9113 §4.2).
///
/// Hyper takes whatever it is given as one piece, and three more of them while the first one waits for the peer's window.
/// So it holds four times this much for a peer that does not read; the rest waits where the queue's bound counts it.
const PIECE: usize = 16 * 1024;

/// Bytes of DATA frames, each way. `F` is told how many were read, and dropped with it.
pub(super) struct Http2Stream<F> {
    stream: TokioIo<Upgraded>,
    on_read: F,
}

impl<F> Http2Stream<F> {
    pub(super) fn new(upgraded: Upgraded, on_read: F) -> Self {
        Self { stream: TokioIo::new(upgraded), on_read }
    }
}

impl<F: Fn(usize) + Unpin> AsyncRead for Http2Stream<F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        (self.on_read)(buffer.filled().len() - before);
        read
    }
}

impl<F: Unpin> AsyncWrite for Http2Stream<F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        Pin::new(&mut self.stream).poll_write(cx, piece)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What hyper has taken leaves without being asked for; its own flush would wait for room for more.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<F> fmt::Debug for Http2Stream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP/2 stream")
    }
}
