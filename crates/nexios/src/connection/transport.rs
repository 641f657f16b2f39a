//! The socket under a connection.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::config::Config;
use crate::server::HeadDeadline;

/// A TCP socket as itself, so that the hot path is compiled for it; anything else behind one indirection.
pub(crate) enum Transport {
    Tcp(Arc<TcpStream>),
    Other(Box<dyn Stream>),
}

/// A byte stream that is no TCP socket: TLS, an in-process pipe.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Transport {
    /// Takes the socket back from hyper, with the bytes that hyper had read behind the handshake.
    pub(crate) fn from_upgraded(upgraded: Upgraded) -> (Self, Bytes) {
        let upgraded = match upgraded.downcast::<TokioIo<HeadDeadline<TcpStream>>>() {
            Ok(parts) => return (Self::Tcp(Arc::new(parts.io.into_inner().into_inner())), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        let upgraded = match upgraded.downcast::<TokioIo<HeadDeadline<DuplexStream>>>() {
            Ok(parts) => return (Self::Other(Box::new(parts.io.into_inner().into_inner())), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        #[cfg(feature = "tls")]
        let upgraded = match Self::from_tls(upgraded) {
            Ok(found) => return found,
            Err(upgraded) => upgraded,
        };
        // Nexios' own client hands hyper a `TokioIo<TcpStream>`; `axum::serve` wraps that once more.
        let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => return (Self::Tcp(Arc::new(parts.io.into_inner())), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (Self::Tcp(Arc::new(parts.io.into_inner())), parts.read_buf),
            Err(upgraded) => (Self::Other(Box::new(TokioIo::new(upgraded))), Bytes::new()),
        }
    }

    /// A TLS stream as itself, so that nothing but it stands between.
    #[cfg(feature = "tls")]
    fn from_tls(upgraded: Upgraded) -> Result<(Self, Bytes), Upgraded> {
        use tokio_rustls::{client, server};

        let upgraded = match upgraded.downcast::<TokioIo<HeadDeadline<server::TlsStream<TcpStream>>>>() {
            Ok(parts) => return Ok((Self::Other(Box::new(parts.io.into_inner().into_inner())), parts.read_buf)),
            Err(upgraded) => upgraded,
        };
        let parts = upgraded.downcast::<TokioIo<client::TlsStream<TcpStream>>>()?;
        Ok((Self::Other(Box::new(parts.io.into_inner())), parts.read_buf))
    }

    /// A WebSocket that is one stream of an HTTP/2 connection. `on_read` is told how many bytes were read, and lives as
    /// long as it.
    #[cfg(feature = "http2")]
    pub(crate) fn over_http2<F: Fn(usize) + Send + Unpin + 'static>(upgraded: Upgraded, on_read: F) -> Self {
        Self::Other(Box::new(super::http2::Http2Stream::new(upgraded, on_read)))
    }

    /// Small answers are not held back (what is sent at once is corked already), and what the peer's machine does not take
    /// for as long as it may be silent ends the connection, also when there is nobody any more to say so.
    pub(crate) fn tune(&self, config: &Config) {
        let Self::Tcp(stream) = self else { return };
        let mut result = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        if let Some(interval) = config.ping_interval {
            let silence = interval.saturating_add(config.ping_timeout);
            result = result.and(socket2::SockRef::from(&**stream).set_tcp_user_timeout(Some(silence)));
        }
        if let Err(error) = result {
            tracing::debug!(%error, "an option of the socket could not be set");
        }
    }

    /// Whether [`has_unread`](Self::has_unread) has a word on it.
    pub(super) fn tells_unread(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Whether something has arrived that was not read yet, as far as can be told without reading it: the kernel is asked,
    /// as the runtime may not have been told yet.
    pub(super) fn has_unread(&self) -> bool {
        let Self::Tcp(stream) = self else { return false };
        // The end of the connection is something as well.
        socket2::SockRef::from(&**stream).peek(&mut [MaybeUninit::uninit()]).is_ok()
    }

    #[inline]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => {
                let space = buffer.initialize_unfilled();
                let (wanted, mut read) = (space.len(), 0);
                ready!(poll_io(stream, cx, |stream| {
                    read = (&*socket2::SockRef::from(stream)).read(space)?;
                    Ok(read == wanted || read == 0)
                }))?;
                buffer.advance(read);
                Poll::Ready(Ok(()))
            }
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// Reads into uninitialised memory.
    #[inline]
    pub(super) fn poll_read_into(&mut self, cx: &mut Context<'_>, buffer: &mut impl BufMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => {
                let (wanted, mut read) = (buffer.chunk_mut().len(), 0);
                ready!(poll_io(stream, cx, |stream| {
                    read = stream.try_read_buf(buffer)?;
                    Ok(read == wanted || read == 0)
                }))?;
                Poll::Ready(Ok(read))
            }
            Self::Other(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buffer),
        }
    }

    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_write(stream, cx, |stream| stream.try_write(bytes)),
            Self::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_write(stream, cx, |stream| stream.try_write_vectored(slices)),
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Poll::Ready(socket2::SockRef::from(&**stream).shutdown(std::net::Shutdown::Write)),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Reads from a socket that is shared: `read` says whether there may be more. Where there is not, the runtime is told so, which
/// saves the next read that would only say the same.
#[inline]
fn poll_io(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    mut read: impl FnMut(&TcpStream) -> io::Result<bool>,
) -> Poll<io::Result<()>> {
    loop {
        let mut is_done = false;
        let result = stream.try_io(Interest::READABLE, || {
            let may_have_more = read(stream)?;
            is_done = true;
            if may_have_more { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match result {
            _ if is_done => return Poll::Ready(Ok(())),
            // Only who waits asks to be woken.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_read_ready(cx))?,
            result => return Poll::Ready(result),
        }
    }
}

#[inline]
fn poll_write(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    write: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        match write(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_write_ready(cx))?,
            result => return Poll::Ready(result),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            Self::Other(_) => f.write_str("another stream"),
        }
    }
}
