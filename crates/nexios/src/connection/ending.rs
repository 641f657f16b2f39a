//! Asking for the end, waiting for it, knowing it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use nexios_proto::{CloseCode, CloseFrame};

use super::link::{Link, Phase, State};
use super::signals::{CLOSE, INBOX};
use super::tick;
use crate::disconnect::{Cause, EndedBy, WebSocketDisconnect};
use crate::sender::ConnectionId;
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct CloseRequest {
    pub(super) frame: CloseFrame,
    pub(super) cause: Cause,
}

impl Link {
    /// Asks the task to close; false when it was closing or over already.
    pub(crate) fn request_close(&self, frame: CloseFrame, cause: Cause) -> bool {
        tick::catch_up();
        let mut state = self.lock();
        if state.close.is_some() || matches!(state.phase, Phase::Closing(_) | Phase::Ended(_)) {
            return false;
        }
        let waker = self.note_close(&mut state, CloseRequest { frame, cause });
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Closes because a limit or a deadline says so.
    pub(crate) fn close_for(&self, reason: &'static str, cause: Cause) {
        self.request_close(self.close_frame(cause, reason), cause);
    }

    /// The Close frame for a cause that has a code of its own.
    pub(super) fn close_frame(&self, cause: Cause, reason: &'static str) -> CloseFrame {
        let code = self.config().close_codes.of(cause).unwrap_or(CloseCode::POLICY_VIOLATION);
        CloseFrame::new(code, reason)
    }

    /// Whether nobody has asked for the end yet, and it has not come by itself.
    pub(crate) fn may_be_closed(&self) -> bool {
        let state = self.lock();
        state.close.is_none() && matches!(state.phase, Phase::Handshake | Phase::Open)
    }

    fn note_close(&self, state: &mut State, request: CloseRequest) -> Option<Waker> {
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing(request.expected_end(self.id()));
        }
        state.close = Some(Box::new(request));
        self.signals.set(CLOSE);
        state.task.clone()
    }

    /// The handler has returned. This connection's disconnect inside an error is a normal end; any other error is logged, shown to the
    /// app's hook, and decides the close code. A connection that was never accepted is over.
    pub(crate) fn conclude(&self, result: Result) {
        let end = result.as_ref().err().and_then(|error| error.disconnect_of(self.id()));
        let shutdown = end.filter(|end| end.cause() == Cause::Shutdown).and_then(WebSocketDisconnect::sent).cloned();
        // It is done with its last message.
        self.watch.asked(self.meter());
        let failure = result.err().and_then(|error| Some((error.verdict(self.id())?, error)));
        if let Some(((_, cause), error)) = &failure {
            log_failure(self, *cause, error);
            self.meter().handler_failed(*cause, error);
            if let Some(on_error) = self.on_error()
                && catch_unwind(AssertUnwindSafe(|| on_error(error))).is_err()
            {
                // The connection is closed all the same, with the code that its peer can make something of.
                tracing::error!(route = self.route(), id = %self.id(), "the hook for errors panicked");
            }
        }
        let (code, cause) = failure.map_or_else(|| self.verdict_of_ok(), |(verdict, _)| verdict);
        let code = self.config().close_codes.of(cause).unwrap_or(code);
        let state = self.lock();
        let (is_open, is_refusing) = (!matches!(state.phase, Phase::Handshake), state.is_refusing);
        drop(state);
        if is_refusing {
            // The Close frame is on its way.
            return;
        }
        if let (true, Some(frame)) = (is_open, shutdown) {
            // It could not publish any more, which is no fault of its own.
            self.request_close(frame, Cause::Shutdown);
        } else if is_open {
            self.request_close(CloseFrame::new(code, ""), cause);
        } else {
            self.end(&WebSocketDisconnect::lost());
        }
    }

    /// Nobody waits for what the handler still does: the task drops it.
    pub(super) fn abandon_handler(&self) {
        self.lock().is_abandoned = true;
        self.wake_task();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().is_abandoned
    }

    pub(super) fn is_told(&self) -> bool {
        self.lock().is_told
    }

    /// The handshake is refused, and the Close frame that says so waits for its socket.
    pub(super) fn is_refusing(&self) -> bool {
        let state = self.lock();
        state.is_refusing && !matches!(state.phase, Phase::Ended(_))
    }

    /// Refuses the handshake by a Close frame, which leaves when the socket is there.
    pub(crate) fn refuse_with(&self, frame: CloseFrame) {
        let mut state = self.lock();
        state.is_refusing = true;
        // The task is not told: it has to wait for the socket.
        drop(self.note_close(&mut state, CloseRequest { frame, cause: Cause::Closed }));
    }

    /// The client left during the handshake, or was refused: whoever holds a sender learns it. The error says the same.
    pub(crate) fn lost(&self) -> Error {
        let end = self.lost_here();
        self.end(&end);
        end.into()
    }

    /// The disconnect of this connection when nothing more is known of it.
    pub(super) fn lost_here(&self) -> WebSocketDisconnect {
        let end = WebSocketDisconnect::lost();
        end.belongs_to(self.id());
        end
    }

    /// The peer did not read what others sent to it.
    pub(crate) fn close_slow_consumer(&self) {
        self.close_for("slow consumer", Cause::SlowConsumer);
    }

    /// The same for an open connection, under its lock: the waker is the caller's to use, after the lock.
    #[cold]
    pub(super) fn note_slow_consumer(&self, state: &mut State) -> Option<Waker> {
        let cause = Cause::SlowConsumer;
        self.note_close(state, CloseRequest { frame: self.close_frame(cause, "slow consumer"), cause })
    }

    /// Waits for the end of the connection.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<WebSocketDisconnect> {
        let mut state = self.lock();
        if let Phase::Ended(end) = &state.phase {
            return Poll::Ready(end.clone());
        }
        state.waiters.wait_for_end(cx.waker());
        Poll::Pending
    }

    /// How the connection ended, once it has.
    pub(crate) fn end_value(&self) -> Option<WebSocketDisconnect> {
        match &self.lock().phase {
            Phase::Ended(end) => Some(end.clone()),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.lock().phase, Phase::Open)
    }

    /// Nobody is to receive what is there.
    pub(super) fn forget_received(&self) {
        let mut state = self.lock();
        state.inbox.clear();
        self.signals.clear(INBOX);
    }

    /// The handler's `WebSocket` is gone: the task closes, unless the handler's own result is still to come.
    pub(crate) fn websocket_dropped(&self) {
        tick::catch_up();
        let mut state = self.lock();
        state.dropped = true;
        state.inbox.clear();
        self.signals.clear(INBOX);
        self.signals.set(CLOSE);
        let waker = state.task.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl CloseRequest {
    pub(super) fn expected_end(&self, id: ConnectionId) -> WebSocketDisconnect {
        let end = WebSocketDisconnect::new(EndedBy::Local, self.cause, None, Some(self.frame.clone()));
        end.belongs_to(id);
        end
    }
}

impl Link {
    /// The Close frame that the application asked for, or that follows from a `WebSocket` that it dropped.
    pub(super) fn take_close(&self, state: &mut State) -> Option<Box<CloseRequest>> {
        if state.dropped && !state.handler_failed && state.close.is_none() && matches!(state.phase, Phase::Open) {
            let (code, cause) = self.verdict_of_ok();
            let request = CloseRequest { frame: CloseFrame::new(code, ""), cause };
            state.phase = Phase::Closing(request.expected_end(self.id()));
            return Some(Box::new(request));
        }
        state.close.take()
    }

    /// How a connection ends whose handler did not fail.
    fn verdict_of_ok(&self) -> (CloseCode, Cause) {
        match self.unexpected.load(Ordering::Relaxed) {
            0 => (CloseCode::NORMAL, Cause::Closed),
            code => (code.into(), Cause::UnexpectedMessage),
        }
    }
}

fn log_failure(link: &Link, cause: Cause, error: &Error) {
    let (route, id, text) = (link.route(), link.id(), error.to_string());
    let error = text.escape_debug();
    if matches!(cause, Cause::UnexpectedMessage | Cause::Forbidden) {
        // The peer's doing, which it can repeat at will.
        link.log_sums().add("handler refused", || {
            let (route, error) = (route.to_owned(), error.to_string());
            move |count| tracing::info!(count, route, %id, %error, "handler refused what the peer asked for")
        });
    } else {
        tracing::error!(route, %id, %error, "handler failed");
    }
}
