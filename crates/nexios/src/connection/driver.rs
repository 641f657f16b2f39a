//! The path of a byte: socket → `nexios-proto` → inbox, and outbound → socket.
//!
//! A driver belongs to one connection's task, which polls it after each turn of the handler. In one poll it parses what
//! is there, hands over one message at a time to a handler that waits for one, writes everything that was queued
//! meanwhile in one call, and reads on.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nexios_proto::{Connection, Event, Message, ProtocolError, encode};
use tokio::io::ReadBuf;

use super::closing::Closing;
use super::direct::BACKLOG_PIECE;
use super::exchange;
use super::holding::Holding;
use super::input::{Input, READ_SIZE};
use super::keepalive::Keepalive;
use super::link::{Accepted, Delivered, Link, Socket};
use super::outbound::Outbound;
use super::rates::{Allowance, Rates};
use super::signals::{ASKED, BACKLOG, CLOSE, OUTBOUND, ROOM, TIMER};
use super::transport::Transport;
use super::waiters::wake_all;
use super::wheel::{Deadline, Purpose};
use crate::observe::Tally;

/// How many messages and control frames one turn takes before the thread's other connections have theirs.
const EVENTS_PER_TURN: u32 = 1024;

/// After how many bytes a turn reads no more: with the last read, 2 MiB. Half of it would interleave the large messages of
/// several connections, so that none reuses the memory of the one before (1 MiB echo: 770 µs of CPU instead of 390).
const BYTES_PER_TURN: usize = 2 * 1024 * 1024 - READ_SIZE;

/// How many buffers one gathered write takes.
const SLICES: usize = 32;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of a socket, of which nothing excludes another")]
pub(super) struct Driver {
    pub(super) link: Arc<Link>,
    pub(super) transport: Transport,
    pub(super) protocol: Connection,
    /// Read, but neither parsed nor in the thread's buffer: the handler has been busy.
    pub(super) unread: Option<Box<Input>>,
    pub(super) inbox_full: bool,
    /// The handler has been polled since it last took a message, and waits for the next one.
    handler_waits: bool,
    /// Taken out of the link, and not yet by the socket.
    pub(super) writing: Outbound,
    /// The socket took no more, and has not said since that it would.
    is_full: bool,
    /// What the link was told of `writing`.
    reported_in_flight: usize,
    /// A violation that is acted on in the next turn.
    violated: Option<Box<ProtocolError>>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) deadline: Option<Deadline>,
    pub(super) closing: Option<Box<Closing>>,
    pub(super) allowance: Allowance,
    /// What it may have beyond that. Most connections never ask for it.
    pub(super) rates: Option<Box<Rates>>,
    /// Messages are inflated, perhaps.
    inflates: bool,
    pub(super) holding: Option<Box<Holding>>,
}

/// What a poll of the driver came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The handler has something to do.
    Handler,
    /// Everything that could be done is done; the task will be woken.
    Waiting,
    /// The socket is of no more use.
    Over,
}

/// The thread's read buffer during one poll, and how much of its turn a connection has used.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what has happened in a turn, of which nothing excludes another")]
pub(super) struct Turn {
    input: Input,
    events: u32,
    bytes: usize,
    /// The handler was woken, and has not been polled yet.
    pub(super) handler_is_due: bool,
    /// Since the last write.
    handler_ran: bool,
    woke_receiver: bool,
    /// A message came to its end.
    completed: bool,
}

enum Parsed {
    /// A handler that was waiting has a message.
    Delivered,
    /// The inbox is full.
    NoRoom,
    /// Nothing is left to parse.
    Dry,
}

enum Read {
    Bytes,
    /// A handler that was waiting has a message.
    Delivered,
    EndOfFile,
}

impl Turn {
    #[inline]
    pub(super) fn new(handler_is_due: bool) -> Self {
        Self { handler_is_due, ..Self::default() }
    }

    fn is_over(&self) -> bool {
        self.events >= EVENTS_PER_TURN || self.bytes >= BYTES_PER_TURN
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The socket closes with its driver, whoever still holds the link.
        self.link.lock().socket = Socket::Taken;
    }
}

impl Driver {
    pub(super) fn new(link: Arc<Link>, accepted: Accepted) -> Self {
        let Accepted { transport, read_ahead } = accepted;
        transport.tune(link.config());
        link.share_socket(&transport);
        let limits = link.config().limits;
        let protocol = match link.agreed() {
            Some(agreed) => Connection::with_deflate(link.role(), limits, agreed.params),
            None => Connection::new(link.role(), limits),
        };
        let keepalive = Keepalive::new(link.config(), link.id());
        let shared = link.shared_rate();
        let allowance = Allowance::new(link.config(), shared.is_some());
        let rates = shared.map(|shared| Box::new(Rates::new(link.config(), Some(shared))));
        let inflates = link.agreed().is_some();
        let unread = (!read_ahead.is_empty()).then(|| Box::new(Input::from_bytes(&read_ahead)));
        let mut driver = Self {
            link,
            transport,
            protocol,
            unread,
            inbox_full: false,
            handler_waits: false,
            writing: Outbound::default(),
            is_full: false,
            reported_in_flight: 0,
            violated: None,
            keepalive,
            deadline: None,
            closing: None,
            allowance,
            rates,
            inflates,
            holding: None,
        };
        driver.set_deadline(driver.keepalive.as_ref().map(Keepalive::wait));
        driver
    }

    /// The end of a turn: what the handler had no time for waits in a buffer of the connection's own.
    #[inline]
    pub(super) fn keep(&mut self, turn: Turn) {
        let completed = turn.completed;
        self.unread = turn.input.into_rest();
        self.account(completed);
    }

    /// The handler is polled next.
    #[inline]
    pub(super) fn begin_turn(&mut self) {
        let is_open = self.closing.is_none();
        exchange::begin_turn(self.link.id(), is_open, is_open && !self.is_full);
    }

    /// The handler was polled.
    #[inline]
    pub(super) fn end_turn(&mut self, turn: &mut Turn) {
        turn.handler_ran = true;
        let (waits, left) = exchange::end_turn();
        self.handler_waits = waits;
        if let Some(message) = left {
            // It did something else this time, or handed its `WebSocket` to another task.
            turn.handler_is_due |= matches!(self.deliver_to_inbox(message, turn), Parsed::Delivered);
        }
    }

    /// The whole of a connection's work.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Progress {
        if self.link.signals.take(TIMER)
            && let Some(progress) = self.on_deadline()
        {
            return progress;
        }
        if let Some(unread) = self.unread.take() {
            turn.input = *unread;
        }
        if !turn.woke_receiver
            && let Some(error) = self.violated.take()
        {
            self.protocol_error(*error);
        }
        loop {
            let parsed = self.parse(cx, turn);
            if matches!(parsed, Parsed::Delivered) {
                return Progress::Handler;
            }
            // What arrived is answered before more is read.
            let may_write = std::mem::take(&mut turn.handler_ran) || self.has_unsent() || self.closing.is_some();
            if may_write && let Some(progress) = self.write_all(cx) {
                return progress;
            }
            if turn.is_over() {
                // Not a wake: that would come before the sockets of the others are even looked at.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                break;
            }
            if matches!(parsed, Parsed::NoRoom) || !self.may_read() {
                break;
            }
            match self.poll_read(cx, turn) {
                Poll::Ready(Ok(Read::Bytes)) => {}
                Poll::Ready(Ok(Read::Delivered)) => return Progress::Handler,
                Poll::Ready(Ok(Read::EndOfFile)) => return self.end_of_file(),
                Poll::Ready(Err(error)) => return self.lost(&error),
                Poll::Pending => break,
            }
        }
        // What others have queued; a handler that is to be polled first may have something for the same write.
        if self.link.signals.any(OUTBOUND | CLOSE) && !turn.handler_is_due {
            return self.write_all(cx).unwrap_or(Progress::Waiting);
        }
        Progress::Waiting
    }

    /// Writes what can be written; `Some` when that was the end.
    #[inline]
    fn write_all(&mut self, cx: &mut Context<'_>) -> Option<Progress> {
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => self.poll_shutdown(cx).then_some(Progress::Over),
            Poll::Ready(Err(error)) => Some(self.lost(&error)),
            Poll::Pending => None,
        }
    }

    // ---- reading

    /// Parses until a handler has to run, the inbox is full, or nothing is left.
    #[inline]
    fn parse(&mut self, cx: &Context<'_>, turn: &mut Turn) -> Parsed {
        if self.inbox_full {
            self.inbox_full = !self.link.lock().inbox.has_room();
            if self.inbox_full {
                return Parsed::NoRoom;
            }
        }
        while !turn.input.is_empty() {
            if turn.is_over() || !self.is_within_rates() {
                return Parsed::NoRoom;
            }
            turn.events += 1;
            match self.protocol.receive(turn.input.unread()) {
                Ok(received) => {
                    turn.input.consume(received.consumed);
                    if received.event.is_some() {
                        self.allowance.message_came();
                    }
                    match received.event {
                        Some(Event::Message(message)) => match self.deliver(turn, message) {
                            Parsed::Dry => {}
                            other => return other,
                        },
                        Some(event) => self.control(event),
                        None => {}
                    }
                }
                Err(error) => self.violation(cx, turn, error),
            }
        }
        Parsed::Dry
    }

    #[inline]
    fn deliver(&mut self, turn: &mut Turn, message: Message) -> Parsed {
        turn.completed = true;
        if self.inflates {
            self.allowance.bytes_came(message.len());
        }
        if self.closing.as_ref().is_some_and(|closing| closing.is_deaf()) {
            return Parsed::Dry;
        }
        Tally::received();
        if self.link.signals.any(ASKED) && self.link.catch_answer(&message) {
            return Parsed::Dry;
        }
        if !std::mem::take(&mut self.handler_waits) {
            return self.deliver_to_inbox(message, turn);
        }
        exchange::hand_over(message);
        Parsed::Delivered
    }

    /// For a handler that is busy, or a `WebSocket` that lives in another task.
    fn deliver_to_inbox(&mut self, message: Message, turn: &mut Turn) -> Parsed {
        let mut state = self.link.lock();
        if state.dropped {
            return Parsed::Dry;
        }
        let delivered = state.deliver(message, &self.link.signals);
        self.inbox_full = !state.inbox.has_room();
        drop(state);
        match delivered {
            Delivered::Handler => return Parsed::Delivered,
            Delivered::Task(waker) => {
                turn.woke_receiver = true;
                waker.wake();
            }
            Delivered::Inbox => {}
        }
        if self.inbox_full { Parsed::NoRoom } else { Parsed::Dry }
    }

    /// The peer broke the protocol. What it sent before is answered before it is told: a receiver in another task has its
    /// turn first.
    fn violation(&mut self, cx: &Context<'_>, turn: &Turn, error: ProtocolError) {
        if turn.woke_receiver {
            self.violated = Some(Box::new(error));
            cx.waker().wake_by_ref();
        } else {
            self.protocol_error(error);
        }
    }

    fn control(&mut self, event: Event) {
        match event {
            // RFC 6455 §5.5.3. Pongs count as queued: a peer that pings and does not read is not read any more. None
            // follows a Close frame (§5.5.1).
            Event::Ping(payload) if self.closing.is_none() => {
                let key = self.link.mask_key();
                self.writing.append_with(|out| encode::pong(&payload, key, out));
            }
            Event::Close(frame) => self.close_received(frame),
            // Any byte is a sign of life, so a pong says nothing new.
            Event::Ping(_) | Event::Pong(_) | Event::Message(_) => {}
        }
    }

    #[inline]
    fn has_unsent(&self) -> bool {
        !self.writing.is_empty() || self.is_full
    }

    #[inline]
    fn may_read(&mut self) -> bool {
        self.peer_reads() && self.is_within_rates()
    }

    /// Whether the peer takes what it is sent.
    #[inline]
    fn peer_reads(&self) -> bool {
        self.writing.len() <= self.link.config().send_waits_above()
    }

    /// Whether what the peer sends is read at all: it is not while it takes too little itself, sends too fast, or has a
    /// handler that is busy.
    pub(super) fn listens(&self) -> bool {
        self.peer_reads() && !self.inbox_full && self.rates.as_ref().is_none_or(|rates| !rates.are_exceeded())
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<io::Result<Read>> {
        // A large payload is read to where it stays.
        let transport = &mut self.transport;
        if let Some(read) = self.protocol.payload_buffer().map(|mut payload| transport.poll_read_into(cx, &mut payload))
        {
            let read = ready!(read)?;
            turn.bytes += read;
            return Poll::Ready(Ok(self.payload_received(cx, turn, read)));
        }
        let mut buffer = ReadBuf::new(turn.input.space());
        ready!(self.transport.poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        turn.input.filled(read);
        turn.bytes += read;
        Poll::Ready(Ok(self.heard(read)))
    }

    fn payload_received(&mut self, cx: &Context<'_>, turn: &mut Turn, read: usize) -> Read {
        let outcome = self.heard(read);
        match self.protocol.payload_received(read) {
            Ok(Some(Event::Message(message))) => {
                self.allowance.message_came();
                if matches!(self.deliver(turn, message), Parsed::Delivered) {
                    return Read::Delivered;
                }
            }
            Ok(Some(event)) => self.control(event),
            Ok(None) => {}
            Err(error) => self.violation(cx, turn, error),
        }
        outcome
    }

    #[inline]
    fn heard(&mut self, bytes: usize) -> Read {
        Tally::read(bytes);
        if bytes == 0 {
            return Read::EndOfFile;
        }
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard = true;
        }
        if let Some(closing) = &mut self.closing {
            closing.heard(bytes);
        }
        self.allowance.bytes_came(bytes);
        Read::Bytes
    }

    // ---- writing

    /// Writes all that is queued, in one call where the socket takes it.
    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        exchange::take_sent(&mut self.writing);
        // What is queued behind this wakes the task.
        if self.link.signals.any(OUTBOUND | CLOSE) {
            self.take_outbound();
        }
        loop {
            if self.writing.is_empty() && !self.take_backlog() {
                // Not all that TLS has taken has left it, perhaps.
                let flushed = self.transport.poll_flush(cx);
                self.is_full = flushed.is_pending();
                return flushed;
            }
            let result = self.write_once(cx);
            self.is_full = result.is_pending();
            self.report_in_flight();
            match result {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    #[inline]
    fn write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let result = if let Some(bytes) = self.writing.as_single() {
            self.transport.poll_write(cx, bytes)
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.writing.slices(&mut slices);
            self.transport.poll_write_vectored(cx, &slices[..count])
        };
        if let Poll::Ready(Ok(written)) = result {
            self.writing.advance(written);
            Tally::written(written);
            if let Some(keepalive) = &mut self.keepalive {
                keepalive.wrote = true;
            }
        }
        result
    }

    /// Moves what is queued from the link to here, and a Close frame behind it when one is asked for: also while the
    /// socket is full, so that the deadline for the peer's answer begins.
    fn take_outbound(&mut self) {
        let mut state = self.link.lock();
        let close = self.link.take_close(&mut state);
        // What waits message by message goes on doing so while the socket is full, unless the end comes behind it.
        let piece = if close.is_some() { usize::MAX } else { 0 };
        state.move_queued(&mut self.writing, piece, &self.link.signals);
        if close.is_some() || self.closing.is_some() {
            self.link.signals.clear(CLOSE);
        }
        drop(state);
        if let Some(request) = close {
            self.close_requested(*request);
        }
    }

    /// The peer keeps up again: takes the next of what waited message by message; false when there is none.
    #[inline]
    fn take_backlog(&mut self) -> bool {
        self.link.signals.any(BACKLOG) && self.take_backlog_piece()
    }

    #[cold]
    fn take_backlog_piece(&mut self) -> bool {
        let mut state = self.link.lock();
        state.move_queued(&mut self.writing, BACKLOG_PIECE, &self.link.signals);
        drop(state);
        !self.writing.is_empty()
    }

    /// Tells the link how much the socket did not take, so that the queue's bound counts it, and those who wait for
    /// room that there is some.
    #[inline]
    fn report_in_flight(&mut self) {
        let rest = self.writing.len();
        if rest == self.reported_in_flight && !self.link.signals.any(ROOM) {
            return;
        }
        self.reported_in_flight = rest;
        let mut state = self.link.lock();
        state.in_flight = u32::try_from(rest).unwrap_or(u32::MAX);
        // What is left of a write is what the socket did not take.
        state.is_refused = rest > 0;
        let has_room = state.must_arrive() <= self.link.config().send_waits_above();
        let waiters = if has_room { state.waiters.take_for_room() } else { Vec::new() };
        if has_room {
            self.link.signals.clear(ROOM);
        }
        drop(state);
        wake_all(waiters);
    }

    // ---- time

    pub(super) fn set_deadline(&mut self, after: Option<std::time::Duration>) {
        // The old one goes first: both may fall into the same slot.
        self.deadline = None;
        self.deadline = after.map(|after| Deadline::new(&self.link, Purpose::Timer, after));
    }
}
