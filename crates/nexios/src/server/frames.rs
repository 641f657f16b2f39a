//! A socket under HTTP/2 that looks at the frames which pass: their kinds are counted, their payload is not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use super::http2::{Activity, CONNECTION_WINDOW};
use super::pace::Pace;
use crate::memory_budget::{Budget, Reservation};
use crate::rate::{Bucket, Rate};

/// How many control frames a peer may send: those that carry neither a request nor data. [`cost`] says what counts how
/// much. Browsers, proxies and libraries send a few in a second.
const CONTROL: Rate = Rate::per_second(500).burst(1_000);

/// `SETTINGS` may change the window of every stream.
const SETTINGS_COST: usize = 20;

/// How many `WINDOW_UPDATE` frames are free for each `DATA` frame that was sent: for the stream and for the connection, twice.
const UPDATES_FOR_DATA: usize = 4;

/// How much is read before others have their turn, in bytes and in frames.
const TURN: (usize, usize) = (64 * 1024, 64);

/// How much is read at once, in bytes: little from a peer whose frames are small, for each is work of its own.
const READ: (usize, usize) = (1024, 16 * 1024);

/// A read with more frames than this is one of small frames.
const SMALL_FRAMES: usize = 16;

/// Below so many bytes of unread bodies a connection is not asked for its share of the budget.
const UNREAD: usize = 64 * 1024;

/// `GOAWAY` with `ENHANCE_YOUR_CALM` (RFC 9113 §6.8, §7).
const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// What the client begins with (RFC 9113 §3.4), in bytes.
const PREFACE: usize = 24;

/// A socket that gives h2 a bounded amount of work in a turn, and is cut when its peer sends too many control frames,
/// takes nothing of what is written, or has sent more that nobody reads than the memory budget has room for.
pub(super) struct FrameLimit<S> {
    stream: S,
    incoming: Scanner,
    outgoing: Scanner,
    control: Bucket,
    free_updates: usize,
    /// What was read in this turn.
    turn: (usize, usize),
    read_size: usize,
    yielding: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pace: Pace,
    unread: Unread,
}

impl<S> FrameLimit<S> {
    pub(super) fn new(stream: S, pace: Pace, activity: Arc<Activity>, budget: Arc<Budget>) -> Self {
        Self {
            stream,
            incoming: Scanner { skip: PREFACE, ..Scanner::default() },
            outgoing: Scanner::default(),
            control: Bucket::new(CONTROL, Instant::now()),
            free_updates: 0,
            turn: (0, 0),
            read_size: READ.0,
            yielding: None,
            pace,
            unread: Unread { activity, budget, reservation: None },
        }
    }

    /// Counts what was read. An error: the peer has to be cut.
    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut frames, mut control) = (0, 0);
        let Self { incoming, free_updates, unread, .. } = self;
        incoming.scan(bytes, |header| {
            frames += 1;
            if header.kind == DATA {
                unread.activity.received(header.length);
            }
            if header.kind == WINDOW_UPDATE && *free_updates > 0 {
                *free_updates -= 1;
            } else {
                control += cost(header);
            }
        });
        self.turn = (self.turn.0 + bytes.len(), self.turn.1 + frames);
        let is_small = frames > SMALL_FRAMES;
        self.read_size = if is_small { READ.0 } else { (self.read_size * 2).min(READ.1) };
        if control > 0 {
            if self.control.check(Instant::now()).is_err() {
                return Err(io::Error::other("too many control frames"));
            }
            self.control.take(control);
        }
        if self.unread.is_too_much() {
            return Err(io::Error::other("the memory budget has no room for what is not read"));
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let Self { outgoing, free_updates, unread, .. } = self;
        outgoing.scan(bytes, |header| match header.kind {
            DATA => *free_updates = free_updates.saturating_add(UPDATES_FOR_DATA),
            WINDOW_UPDATE if header.is_for_connection => unread.activity.released(header.increment),
            _ => {}
        });
        self.pace.moved(bytes.len());
        self.unread.account();
    }

    fn is_turn_over(&self) -> bool {
        self.turn.0 >= TURN.0 || self.turn.1 >= TURN.1
    }
}

impl<S: AsyncWrite + Unpin> FrameLimit<S> {
    /// Says why, if that can be said at once and between two frames.
    fn cut(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        tracing::debug!(%error, "http/2 connection cut");
        if self.outgoing.is_between_frames() {
            let _ = Pin::new(&mut self.stream).poll_write(cx, &CALM_DOWN);
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
        error
    }

    fn check_pace<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.pace.poll_late(cx));
        tracing::debug!("http/2 connection cut: its peer takes nothing");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes answers too slowly")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for FrameLimit<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(yielding) = &mut this.yielding {
            ready!(yielding.as_mut().poll(cx));
            this.yielding = None;
            this.turn = (0, 0);
        }
        let size = this.read_size.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(size));
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        if polled.is_pending() {
            this.turn = (0, 0);
        }
        ready!(polled)?;
        let read = part.filled().len();
        if let Err(error) = this.received(part.filled()) {
            return Poll::Ready(Err(this.cut(cx, error)));
        }
        buffer.advance(read);
        if this.is_turn_over() {
            // Behind all that are ready now, and after the runtime has looked at its sockets.
            this.yielding = Some(Box::pin(yield_now()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameLimit<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(cx, bytes)? else {
            return this.check_pace(cx);
        };
        this.wrote(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write_vectored(cx, slices)? else {
            return this.check_pace(cx);
        };
        let mut left = written;
        for slice in slices {
            let piece = &slice[..left.min(slice.len())];
            left -= piece.len();
            this.wrote(piece);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if flushed.is_pending() {
            return this.check_pace(cx);
        }
        // All is taken: what comes next has its own grace.
        this.pace.begin();
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        if shut.is_pending() { this.check_pace(cx) } else { shut }
    }
}

/// Bodies that h2 holds because nobody has read them yet.
struct Unread {
    activity: Arc<Activity>,
    budget: Arc<Budget>,
    reservation: Option<Reservation>,
}

impl Unread {
    fn account(&mut self) -> usize {
        let bytes = self.activity.unread();
        if bytes <= UNREAD {
            self.reservation = None;
        } else {
            self.reservation.get_or_insert_with(|| self.budget.holder()).set(bytes);
        }
        bytes
    }

    fn is_too_much(&mut self) -> bool {
        let bytes = self.account();
        bytes > UNREAD && self.budget.is_exceeded_by(bytes)
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// The beginning of a frame (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameHeader {
    length: usize,
    kind: u8,
    flags: u8,
    is_for_connection: bool,
    /// Of a `WINDOW_UPDATE`, in bytes.
    increment: usize,
}

/// What a frame counts.
fn cost(header: FrameHeader) -> usize {
    const END_STREAM: u8 = 1;
    const ACK: u8 = 1;
    match header.kind {
        HEADERS => 0,
        // The end of a stream may have nothing in it.
        DATA => usize::from(header.length == 0 && header.flags & END_STREAM == 0),
        SETTINGS if header.flags & ACK == 0 => SETTINGS_COST,
        _ => 1,
    }
}

/// Finds the headers of frames in bytes that come in pieces.
#[derive(Debug, Default)]
struct Scanner {
    /// How much follows that is no header, in bytes.
    skip: usize,
    header: [u8; 13],
    have: usize,
}

impl Scanner {
    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHeader)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (self.wanted() - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.wanted() {
                let header = self.parse();
                self.skip = header.length + 9 - self.have;
                self.have = 0;
                found(header);
            }
        }
    }

    /// Of a `WINDOW_UPDATE` the payload is looked at as well.
    fn wanted(&self) -> usize {
        let [_, _, length, kind, ..] = self.header;
        if self.have >= 9 && kind == WINDOW_UPDATE && length >= 4 { 13 } else { 9 }
    }

    fn parse(&self) -> FrameHeader {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let word =
            |at: usize| u32::from_be_bytes([stream[at], stream[at + 1], stream[at + 2], stream[at + 3]]) << 1 >> 1;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let increment = if self.have == 13 { usize::try_from(word(4)).unwrap_or(0) } else { 0 };
        FrameHeader { length, kind, flags, is_for_connection: word(0) == 0, increment }
    }

    fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}

/// What h2 makes the window of a connection larger by in the beginning, in bytes (RFC 9113 §6.9.2).
pub(super) const FIRST_INCREMENT: usize = CONNECTION_WINDOW as usize - 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn headers_of_frames_are_found_however_the_bytes_are_split() {
        let bytes = [
            frame(SETTINGS, 0, 0, &[0; 6]),
            frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
            frame(WINDOW_UPDATE, 0, 3, &[]),
            frame(DATA, 1, 1, b"data"),
            frame(DATA, 0, 1, b""),
        ]
        .concat();
        let all = |size: usize| {
            let (mut scanner, mut found) = (Scanner::default(), Vec::new());
            for piece in bytes.chunks(size) {
                scanner.scan(piece, |header| {
                    found.push((header.kind, header.length, header.is_for_connection, header.increment, cost(header)));
                });
            }
            assert!(scanner.is_between_frames());
            found
        };
        let expected = [
            (SETTINGS, 6, true, 0, 20),
            (WINDOW_UPDATE, 4, true, 65_536, 1),
            (WINDOW_UPDATE, 0, false, 0, 1),
            (DATA, 4, false, 0, 0),
            (DATA, 0, false, 0, 1),
        ];
        for size in 1..=bytes.len() {
            assert_eq!(all(size), expected, "in pieces of {size}");
        }
    }
}
