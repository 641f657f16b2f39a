//! One deadline for the whole head of a request, kept below hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::stage::{Stage, StageCell};
use crate::deadline::deadline_after;

/// How long a connection may wait for its next request (RFC 9112 §9.5 lets a server close it at any time).
const IDLE: Duration = Duration::from_mins(1);

/// RFC 9110 §15.5.9.
const REFUSAL: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// After the last answer the socket is read until it is silent for so long: one that is closed with unread bytes
/// resets the connection, and the answer may be lost with it (RFC 9112 §9.6).
const SILENCE: Duration = Duration::from_millis(100);
/// How long that may take in all.
const LINGER: Duration = Duration::from_secs(1);

/// A socket under hyper that answers 408 when a request's head is late.
///
/// The first head is due at a time that was fixed when the connection was accepted; a later one as long after its first
/// byte. Between two requests a connection may be idle for a minute.
pub(crate) struct HeadDeadline<S> {
    stream: S,
    timeout: Duration,
    stage: StageCell,
    /// What `sleep` was set for, if it is set.
    timed: Option<Stage>,
    sleep: Pin<Box<Sleep>>,
    /// The socket has not taken all of what hyper wrote last.
    is_full: bool,
    /// The peer will send no more, or is not listened to any more.
    is_over: bool,
    closing: Option<Closing>,
}

/// The end, from our side.
struct Closing {
    unwritten: &'static [u8],
    is_shut: bool,
    until: Instant,
}

impl<S> HeadDeadline<S> {
    /// `deadline` is the first head's; each later one has `timeout`.
    pub(super) fn new(stream: S, deadline: Instant, timeout: Duration, stage: StageCell) -> Self {
        Self {
            stream,
            timeout,
            stage,
            timed: Some(Stage::Head),
            sleep: Box::pin(sleep_until(deadline)),
            is_full: false,
            is_over: false,
            closing: None,
        }
    }

    /// The socket again, for another protocol.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Sets the timer for a stage that has begun since.
    fn follow(&mut self) -> Stage {
        let stage = self.stage.get();
        if self.timed != Some(stage) {
            self.timed = Some(stage);
            match stage {
                Stage::Serving => {}
                Stage::Idle => self.sleep.as_mut().reset(Instant::now() + IDLE),
                Stage::Head => self.sleep.as_mut().reset(deadline_after(Instant::now(), self.timeout)),
            }
        }
        stage
    }

    fn received(&mut self, bytes: usize, stage: Stage) {
        if bytes == 0 {
            self.is_over = true;
        } else if stage == Stage::Idle {
            self.stage.set(Stage::Head);
            self.follow();
        }
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>, wanted: usize) {
        self.is_full = !matches!(written, Poll::Ready(Ok(written)) if *written >= wanted);
        if self.timed == Some(Stage::Idle) {
            // The answer is still on its way: the minute begins anew.
            self.timed = None;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HeadDeadline<S> {
    fn close(&mut self, answer: &'static [u8]) {
        let now = Instant::now();
        self.closing = Some(Closing { unwritten: answer, is_shut: false, until: now + LINGER });
        self.sleep.as_mut().reset(now + SILENCE);
    }

    /// Answers, ends our side, and reads what the peer has sent until it ends as well or is silent.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(closing) = &mut self.closing {
            let Poll::Ready(goes_on) = closing.poll_step(Pin::new(&mut self.stream), cx) else {
                ready!(self.sleep.as_mut().poll(cx));
                break;
            };
            let now = Instant::now();
            if !goes_on || now >= closing.until {
                break;
            }
            self.sleep.as_mut().reset(now + SILENCE);
        }
        self.is_over = true;
        Poll::Ready(())
    }
}

impl Closing {
    /// False: that was the last of it.
    fn poll_step<S: AsyncRead + AsyncWrite>(&mut self, stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.unwritten.is_empty() {
            let written = ready!(stream.poll_write(cx, self.unwritten)).unwrap_or(0);
            self.unwritten = &self.unwritten[written..];
            return Poll::Ready(written > 0);
        }
        if !self.is_shut {
            self.is_shut = ready!(stream.poll_shutdown(cx)).is_ok();
            return Poll::Ready(self.is_shut);
        }
        let mut space = [0; 4096];
        let mut buffer = ReadBuf::new(&mut space);
        let read = ready!(stream.poll_read(cx, &mut buffer));
        Poll::Ready(read.is_ok() && !buffer.filled().is_empty())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for HeadDeadline<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() && !this.is_over {
            let stage = this.follow();
            let before = buffer.filled().len();
            if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
                this.received(buffer.filled().len() - before, stage);
                return Poll::Ready(read);
            }
            if stage == Stage::Serving {
                return Poll::Pending;
            }
            ready!(this.sleep.as_mut().poll(cx));
            if stage == Stage::Idle {
                this.is_over = true;
            } else {
                // Behind half of an answer nothing else can be said.
                this.close(if this.is_full { b"" } else { REFUSAL });
            }
        }
        // To hyper this is the end of the file.
        this.poll_close(cx).map(Ok)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HeadDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&written, bytes.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&written, slices.iter().map(|slice| slice.len()).sum());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Hyper reads no more while its last read waits: what comes after an answer is timed from here.
        if this.closing.is_none() && this.follow() == Stage::Idle {
            let _ = this.sleep.as_mut().poll(cx);
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_over {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        if this.closing.is_none() {
            this.close(b"");
        }
        this.poll_close(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A connection to an app with one page.
    fn connect() -> DuplexStream {
        let app = crate::App::new().http(axum::Router::new().route("/", get(async || "page")));
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(app.into_server().serve_stream(theirs));
        ours
    }

    async fn ask(stream: &mut DuplexStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("page") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{answer:?}");
            answer.push_str(str::from_utf8(&piece[..read]).unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_a_minute_without_a_word() {
        let mut stream = connect();
        let mut rest = String::new();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            ask(&mut stream).await;
            tokio::time::sleep(Duration::from_secs(50)).await;
            ask(&mut stream).await;
        }
        let began = Instant::now();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!((rest.as_str(), began.elapsed().as_secs()), ("", 60));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_is_due_ten_seconds_after_the_connection_a_later_one_after_its_first_byte() {
        for before in [false, true] {
            let mut stream = connect();
            if before {
                ask(&mut stream).await;
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            let began = Instant::now();
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.as_bytes(), REFUSAL);
            assert_eq!(began.elapsed().as_secs(), 10);
        }
    }
}
