//! The deadlines of an HTTP/1.1 connection, kept below hyper: for heads, between requests, and for answers that wait.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::behind::Behind;
use super::config::ServerConfig;
use super::head_memory::SMALL;
use super::pace::{Pace, after};
use super::stage::{Stage, StageCell};
use crate::memory_budget::{Budget, Reservation};

/// RFC 9110 §15.6.4: the memory budget has no room for the head.
const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// RFC 9110 §15.5.9.
const REFUSAL: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// After the last answer the socket is read until it is silent for so long: one that is closed with unread bytes
/// resets the connection, and the answer may be lost with it (RFC 9112 §9.6).
const SILENCE: Duration = Duration::from_millis(100);
/// How long that may take in all.
const LINGER: Duration = Duration::from_secs(1);

/// A socket under hyper that answers 408 when a request's head is late, and is cut when its peer does not take an answer.
///
/// The first head is due at a time that was fixed when the connection was accepted; a later one as long after its first
/// byte, or after the answer before it. Between two requests a connection may be idle for as long as the setting says.
pub(crate) struct HeadDeadline<S> {
    stream: S,
    terms: Terms,
    stage: StageCell,
    /// What an unfinished head takes, beyond what is not counted.
    head: Option<Reservation>,
    head_bytes: usize,
    behind: Behind,
    /// Of the answers.
    pace: Pace,
    /// What `sleep` was set for, if it is set.
    timed: Option<Stage>,
    sleep: Pin<Box<Sleep>>,
    /// The socket has not taken all of what hyper wrote last.
    is_full: bool,
    /// The peer will send no more, or is not listened to any more.
    is_over: bool,
    closing: Option<Closing>,
}

/// What a connection is bound to.
pub(super) struct Terms {
    /// For each head but the first.
    timeout: Duration,
    /// How long a connection may wait for its next request (RFC 9112 §9.5 lets a server close it at any time).
    idle: Duration,
    budget: Arc<Budget>,
}

impl Terms {
    pub(super) fn new(server: &ServerConfig, timeout: Duration, budget: Arc<Budget>) -> Self {
        Self { timeout, idle: server.keep_alive, budget }
    }
}

/// The end, from our side.
struct Closing {
    unwritten: &'static [u8],
    is_shut: bool,
    until: Instant,
}

impl<S> HeadDeadline<S> {
    /// `deadline` is the first head's.
    pub(super) fn new(stream: S, deadline: Instant, terms: Terms, pace: Pace, stage: StageCell) -> Self {
        Self {
            stream,
            terms,
            stage,
            head: None,
            head_bytes: 0,
            behind: Behind::default(),
            pace,
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
        let mut stage = self.stage.get();
        if stage == Stage::Idle && self.behind.is_half_head(self.stage.body()) {
            self.stage.has_begun_behind(true);
            self.stage.set(Stage::Head);
            stage = Stage::Head;
        }
        if self.timed != Some(stage) {
            self.timed = Some(stage);
            match stage {
                Stage::Serving => self.serve(),
                Stage::Idle => self.sleep.as_mut().reset(after(self.terms.idle)),
                Stage::Head => self.sleep.as_mut().reset(after(self.terms.timeout)),
            }
        }
        stage
    }

    /// A head is complete. What it takes from now on is reserved by the request itself.
    fn serve(&mut self) {
        (self.head, self.head_bytes) = (None, 0);
        self.pace.begin();
    }

    /// False: there is no memory left for a head.
    fn received(&mut self, bytes: &[u8], stage: Stage) -> bool {
        if bytes.is_empty() {
            self.is_over = true;
            return true;
        }
        if stage == Stage::Idle {
            self.behind = Behind::default();
            self.stage.has_begun_behind(false);
            self.stage.set(Stage::Head);
            self.follow();
        }
        self.behind.received(bytes);
        stage == Stage::Serving || self.reserve(bytes.len())
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        self.head_bytes += bytes;
        let more = (self.head_bytes - self.head.as_ref().map_or(0, Reservation::bytes)).saturating_sub(SMALL);
        more == 0 || self.head.get_or_insert_with(|| self.terms.budget.holder()).try_grow(more)
    }

    /// Whether the peer has left an answer waiting for too long.
    fn wrote(&mut self, written: &Poll<io::Result<usize>>, wanted: usize, cx: &mut Context<'_>) -> bool {
        self.is_full = !matches!(written, Poll::Ready(Ok(written)) if *written >= wanted);
        if self.timed == Some(Stage::Idle) {
            // The answer is still on its way: the time begins anew.
            self.timed = None;
        }
        match written {
            Poll::Ready(Ok(bytes)) => self.pace.moved(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => return self.is_late(cx),
        }
        false
    }

    /// The socket is full.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let is_late = self.pace.poll_late(cx).is_ready();
        if is_late {
            tracing::debug!("http connection cut: its peer takes the answer too slowly");
            // Behind half of an answer nothing else can be said.
            self.is_over = true;
        }
        is_late
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HeadDeadline<S> {
    /// Behind half of an answer nothing else can be said.
    fn refuse(&mut self, answer: &'static [u8]) {
        self.close(if self.is_full { b"" } else { answer });
    }

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
                if this.received(&buffer.filled()[before..], stage) {
                    return Poll::Ready(read);
                }
                buffer.set_filled(before);
                this.refuse(OVERLOADED);
            } else if stage == Stage::Serving {
                return Poll::Pending;
            } else {
                ready!(this.sleep.as_mut().poll(cx));
                match stage {
                    Stage::Idle => this.is_over = true,
                    _ => this.refuse(REFUSAL),
                }
            }
        }
        // To hyper this is the end of the file.
        this.poll_close(cx).map(Ok)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HeadDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if self.wrote(&written, bytes.len(), cx) { Poll::Ready(Err(too_slow())) } else { written }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        if self.wrote(&written, wanted, cx) { Poll::Ready(Err(too_slow())) } else { written }
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
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if flushed.is_ready() {
            this.pace.pause();
        } else if this.is_late(cx) {
            return Poll::Ready(Err(too_slow()));
        }
        flushed
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

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer takes the answer too slowly")
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
