//! How a connection ends (RFC 6455 §7): the closing handshake, its deadline, and every way around it.

use std::io;
use std::task::Context;
use std::time::Duration;

use nexios_proto::{CloseCode, CloseFrame, ProtocolError, Role, encode};

use super::driver::{Driver, Progress};
use super::ending::CloseRequest;
use super::exchange;
use super::keepalive::{Check, Keepalive};
use super::link::{Link, Phase};
use super::outbound::Outbound;
use super::signals::{BACKLOG, HANDLER, OUTBOUND, ROOM};
use super::waiters::wake_all;
use crate::disconnect::{Cause, EndedBy, WebSocketDisconnect};

/// How long a peer that broke the protocol may be silent before its socket is closed.
const QUIET: Duration = Duration::from_millis(100);

/// Bytes in a second that a peer reads at least which is closed while something waits for it.
const LEAST_RATE: u64 = 240;

/// How much later a peer is given up whose answer may be under way between the socket and here (TLS, HTTP/2), when this
/// process was held up.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// A connection on which a Close frame was sent.
#[derive(Debug)]
pub(super) struct Closing {
    ended_by: EndedBy,
    cause: Cause,
    sent: CloseFrame,
    stage: Stage,
    /// The peer went on sending since the last deadline.
    heard: bool,
    /// What is left of [`Config::close_timeout`](crate::Config::close_timeout).
    remaining: Duration,
    /// Bytes that the socket had not taken at the last look.
    unwritten: usize,
    is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Ours is sent; the peer's Close frame is still to come.
    AwaitReply,
    /// Both were sent: what is queued leaves, then the socket is closed.
    Flush,
    /// The peer broke the protocol: ours leaves, and what still arrives is thrown away until it is silent. A socket that
    /// is closed with unread bytes, or in the middle of the peer's sending, is reset, and the peer would not see the
    /// Close frame.
    Discard,
    /// A client waits for the server to close the socket.
    AwaitEndOfFile,
}

impl Driver {
    /// The application wants to close; what it had queued is in `writing` already.
    pub(super) fn close_requested(&mut self, request: CloseRequest) {
        if self.closing.is_none() {
            self.send_close(EndedBy::Local, request.cause, request.frame, Stage::AwaitReply);
        }
    }

    /// RFC 6455 §5.5.1: a Close frame is answered by one, which carries the same code.
    pub(super) fn close_received(&mut self, frame: Option<CloseFrame>) {
        match &mut self.closing {
            None => {
                let reply = CloseFrame::new(frame.as_ref().map_or(CloseCode::NO_STATUS, CloseFrame::code), "");
                self.send_close(EndedBy::Peer, Cause::Closed, reply, Stage::Flush);
            }
            Some(closing) if closing.stage == Stage::AwaitReply => closing.stage = Stage::Flush,
            Some(_) => return,
        }
        self.end_with(Some(frame.unwrap_or_else(|| CloseFrame::new(CloseCode::NO_STATUS, ""))));
    }

    /// RFC 6455 §7.1.7: fail the connection.
    pub(super) fn protocol_error(&mut self, error: ProtocolError) {
        let frame = CloseFrame::new(error.close_code(), error.to_string());
        self.give_up(Cause::ProtocolError(error), frame);
    }

    /// Nothing that the peer says is of interest any more, and what it has begun to say is let go.
    pub(super) fn give_up(&mut self, cause: Cause, frame: CloseFrame) {
        self.protocol.fail();
        match &mut self.closing {
            None => self.send_close(EndedBy::Local, cause, frame, Stage::Discard),
            Some(closing) => closing.stage = Stage::Discard,
        }
        self.set_deadline(Some(QUIET));
        self.end_with(None);
    }

    /// As [`give_up`](Self::give_up), of a peer that does not even read: what waits for it is let go as well, and the socket
    /// is closed in the middle of it.
    pub(super) fn cut_off(&mut self, cause: Cause, frame: CloseFrame) {
        self.give_up(cause, frame);
        self.writing = Outbound::default();
    }

    fn send_close(&mut self, ended_by: EndedBy, cause: Cause, frame: CloseFrame, stage: Stage) {
        let remaining = self.link.config().close_timeout;
        let closing =
            Closing { ended_by, cause, sent: frame, stage, heard: false, remaining, unwritten: 0, is_late: false };
        self.link.begin_closing(&closing.end(None));
        if closing.is_deaf() {
            self.link.forget_received();
        }
        // What the handler answered to earlier messages goes before.
        exchange::take_sent(&mut self.writing);
        self.link.lock().move_queued(&mut self.writing, usize::MAX, &self.link.signals);
        let key = self.link.mask_key();
        // 1005 stands for a frame without a code, and never goes over the wire (RFC 6455 §7.4.1).
        let on_wire = (closing.sent.code() != CloseCode::NO_STATUS).then_some(&closing.sent);
        let protocol = &mut self.protocol;
        self.writing.append_with(|out| {
            protocol.send_close(on_wire, key, out);
        });
        let unwritten = self.writing.len();
        self.closing = Some(Box::new(Closing { unwritten, ..closing }));
        self.set_deadline(Some(remaining));
    }

    /// The ending is known: those who receive and send learn of it.
    fn end_with(&mut self, received: Option<CloseFrame>) {
        let end = match &self.closing {
            Some(closing) => closing.end(received),
            None => WebSocketDisconnect::lost(),
        };
        self.link.end(&end);
    }

    /// After everything queued has been written: true when the socket is of no more use.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(closing) = &mut self.closing else {
            return false;
        };
        if closing.stage != Stage::Flush {
            return false;
        }
        // RFC 6455 §7.1.1: the server closes the TCP connection first; a client waits for it.
        if self.link.role() == Role::Client {
            closing.stage = Stage::AwaitEndOfFile;
            return false;
        }
        self.transport.poll_shutdown(cx).is_ready()
    }

    pub(super) fn end_of_file(&mut self) -> Progress {
        self.end_with(None);
        Progress::Over
    }

    pub(super) fn lost(&mut self, error: &io::Error) -> Progress {
        tracing::trace!(id = %self.link.id(), %error, "socket failed");
        self.end_with(None);
        Progress::Over
    }

    // ---- deadlines

    pub(super) fn on_deadline(&mut self) -> Option<Progress> {
        if let Some(closing) = &mut self.closing {
            if let Some(wait) = closing.goes_on(self.writing.len(), self.link.config().close_timeout) {
                self.set_deadline(Some(wait));
                return None;
            }
            self.end_with(None);
            return Some(Progress::Over);
        }
        // A peer whose bytes are left unread on purpose is judged by whether it takes what it is sent.
        let is_read = self.listens();
        let config = self.link.config();
        let Some(keepalive) = &mut self.keepalive else {
            return None;
        };
        let mut alive = keepalive.heard || (!is_read && (self.writing.is_empty() || keepalive.wrote));
        // When this process was stopped, or its thread held up, deadlines are over before answers are read that came in time.
        if !alive && is_read && keepalive.is_unanswered() {
            alive = self.transport.has_unread();
        }
        keepalive.is_doubted &= !alive;
        let check = keepalive.check(config, alive);
        match check {
            Check::Wait => {}
            Check::SendPing => {
                if config.compression.free_when_idle {
                    self.link.free_idle_window();
                }
                let key = self.link.mask_key();
                self.writing.append_with(|out| encode::ping(b"", key, out));
            }
            Check::PeerIsGone
                if !self.transport.tells_unread() && !std::mem::replace(&mut keepalive.is_doubted, true) =>
            {
                self.set_deadline(Some(SECOND_LOOK));
                return None;
            }
            Check::PeerIsGone => {
                // The Close frame is a courtesy to a peer that can still read; nobody waits for an answer.
                let frame = self.link.close_frame(Cause::KeepaliveTimeout, "keepalive timeout");
                self.send_close(EndedBy::Local, Cause::KeepaliveTimeout, frame, Stage::Flush);
                self.end_with(None);
                return None;
            }
        }
        let wait = self.keepalive.as_ref().map(Keepalive::wait);
        self.set_deadline(wait);
        None
    }
}

impl Closing {
    /// Whoever is not, or no longer, somebody who may speak here is not heard while their answer is waited for.
    pub(super) fn is_deaf(&self) -> bool {
        matches!(self.cause, Cause::NotAuthenticated | Cause::Expired | Cause::Revoked)
    }

    pub(super) fn heard(&mut self, bytes: usize) {
        /// A masked control frame of the greatest size (RFC 6455 §5.5): no more than the answer to the Close frame.
        const ANSWER: usize = 131;
        self.heard |= bytes > ANSWER;
    }

    /// How much longer the peer has, at the end of a wait after which so many bytes are still to be written. Whoever reads gets
    /// the Close frame: each byte of what stands before it buys time.
    fn goes_on(&mut self, unwritten: usize, timeout: Duration) -> Option<Duration> {
        let is_discarding = self.stage == Stage::Discard;
        let taken = self.unwritten.saturating_sub(unwritten);
        let was_late = std::mem::replace(&mut self.is_late, unwritten > 0);
        self.unwritten = unwritten;
        let waited = if is_discarding { QUIET } else { self.remaining };
        self.remaining = self.remaining.saturating_sub(waited);
        if unwritten > 0 || was_late {
            let earned = Duration::from_millis(taken.saturating_mul(1000) as u64 / LEAST_RATE);
            self.remaining = self.remaining.saturating_add(earned).min(timeout);
        }
        // It still sends, or has not taken all that was sent to it.
        let is_busy = std::mem::take(&mut self.heard) || unwritten > 0;
        if self.remaining.is_zero() || (is_discarding && !is_busy) {
            return None;
        }
        Some(if is_discarding { QUIET } else { self.remaining })
    }

    fn end(&self, received: Option<CloseFrame>) -> WebSocketDisconnect {
        WebSocketDisconnect::new(self.ended_by, self.cause, received, Some(self.sent.clone()))
    }
}

impl Link {
    /// Makes the ending known and lets go of everything that the connection held.
    pub(crate) fn end(&self, end: &WebSocketDisconnect) {
        let was_open = self.begin_closing(end);
        let mut state = self.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return;
        }
        state.phase = Phase::Ended(end.clone());
        let (outbound, backlog) = (std::mem::take(&mut state.outbound), state.backlog.take());
        let respond = state.socket.take_respond();
        self.signals.clear(OUTBOUND | BACKLOG | ROOM);
        // A handler that waits for a message is known to the task alone.
        self.signals.set(HANDLER);
        let mut wakers = state.waiters.take_all();
        state.is_told |= !wakers.is_empty();
        wakers.extend(state.task.clone());
        let unanswered = state.take_pending();
        let caller = state.release_caller();
        drop(state);
        drop((outbound, backlog, respond, caller));
        if was_open {
            self.meter().ended(&self.watch, end);
        }
        log_end(self, end);
        drop(unanswered);
        wake_all(wakers);
    }
}

/// A line for each connection at DEBUG, without anything that the peer could use to write a second one. What is out of the
/// ordinary is also logged at INFO, in sums: a peer can repeat it.
fn log_end(link: &Link, end: &WebSocketDisconnect) {
    let (id, route) = (link.id(), link.route());
    if end.is_normal() || matches!(end.cause(), Cause::Closed | Cause::Shutdown | Cause::ConnectionLost) {
        tracing::debug!(%id, route, %end, "connection ended");
        return;
    }
    let mut is_logged = false;
    link.log_sums().add(end.cause().as_str(), || {
        is_logged = true;
        let (route, end) = (route.to_owned(), end.clone());
        move |count| tracing::info!(count, %id, route, %end, "connection ended")
    });
    if !is_logged {
        tracing::debug!(%id, route, %end, "connection ended");
    }
}
