//! The one task of a connection: it polls the handler, and does the I/O in between.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::waker_ref;

use super::driver::{Driver, Progress, Turn};
use super::exchange;
use super::link::Link;
use super::registry::Registry;
use super::signals::HANDLER;
use super::wheel::{Deadline, Purpose};
use super::worker;
use crate::disconnect::WebSocketDisconnect;
use crate::error::HandlerPanic;
use crate::handler::BoxFuture;
use crate::observe::ConnectionSpan;
use crate::server::Seat;
use crate::{Error, Result};

/// Runs a connection from before the handshake to the end of both the socket and the handler.
///
/// Whatever the handler sends in one poll leaves in one write after it (the socket is corked by itself), and pings are
/// answered while it waits for something else than a message. The handler is polled when it is woken or has a message to
/// take; what others send to the connection does not concern it.
pub(crate) struct ConnectionTask {
    link: Arc<Link>,
    /// `None`: it has returned, or this is a client's connection.
    handler: Option<HandlerFuture>,
    io: Io,
    knows_waker: bool,
    /// The registry lists it, from the handshake to the end of its socket.
    is_listed: bool,
    span: ConnectionSpan,
    registry: Option<Arc<Registry>>,
    /// For a handler that takes no notice of the end.
    handler_deadline: Option<Box<Deadline>>,
}

/// Middleware and handler, as one future.
pub(crate) type HandlerFuture = BoxFuture<Result>;

#[expect(clippy::large_enum_variant, reason = "a connection is open nearly always: a box would be one allocation more")]
enum Io {
    /// Not accepted yet.
    Handshake,
    Open(Driver),
    Over,
}

impl ConnectionTask {
    /// The task of a connection that the server has been asked for.
    pub(crate) fn serve(
        link: Arc<Link>,
        handler: HandlerFuture,
        registry: &Arc<Registry>,
        seat: Seat,
        span: ConnectionSpan,
    ) -> Self {
        link.signals.set(HANDLER);
        registry.insert(&link, seat);
        let registry = Some(Arc::clone(registry));
        let (handler, io) = (Some(handler), Io::Handshake);
        Self { link, handler, io, knows_waker: false, is_listed: true, span, registry, handler_deadline: None }
    }

    /// The task of a client's connection, whose `WebSocket` is used elsewhere.
    pub(crate) fn client(link: Arc<Link>) -> Self {
        let span = ConnectionSpan::default();
        let io = Io::Handshake;
        Self {
            link,
            handler: None,
            io,
            knows_waker: false,
            is_listed: false,
            span,
            registry: None,
            handler_deadline: None,
        }
    }

    #[inline]
    fn poll_handler(&mut self, turn: &mut Turn) {
        let Some(handler) = &mut self.handler else { return };
        if let Io::Open(driver) = &mut self.io {
            driver.begin_turn();
        }
        let waker = waker_ref(&self.link);
        let mut cx = Context::from_waker(&waker);
        // A panic ends this connection only: what it may have left half-changed is dropped with its handler.
        let future = AssertUnwindSafe(handler);
        let polled = catch_unwind(move || { future }.0.as_mut().poll(&mut cx));
        if let Io::Open(driver) = &mut self.io {
            driver.end_turn(turn);
        }
        let result = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(result)) => result,
            Err(payload) => Err(Error::Panic(HandlerPanic::new(&*payload))),
        };
        self.finish_handler(result);
    }

    #[cold]
    fn finish_handler(&mut self, result: Result) {
        if result.is_err() {
            // Its `WebSocket` is dropped now, and must not close with 1000.
            self.link.handler_failed();
        }
        let handler = self.handler.take();
        // What a handler owns may panic when it is dropped, as the handler itself may.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(handler)));
        let result = result.and(dropped.map_err(|payload| Error::Panic(HandlerPanic::new(&*payload))));
        self.link.conclude(result);
        // Returning ends the connection, even if the `WebSocket` lives on in another task.
        self.link.websocket_dropped();
    }

    /// Takes over the socket once `accept` has it.
    #[inline]
    fn poll_io(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Progress {
        if matches!(self.io, Io::Handshake) {
            let accepted = self.link.lock().socket.take_accepted();
            match accepted {
                Some(accepted) => self.io = Io::Open(Driver::new(Arc::clone(&self.link), *accepted)),
                None => return self.poll_handshake(cx),
            }
        }
        let Io::Open(driver) = &mut self.io else { return Progress::Over };
        let progress = driver.poll(cx, turn);
        if progress == Progress::Over {
            self.socket_ended();
        }
        progress
    }

    /// Before `accept`: a client that leaves, or a deadline of the handshake that passes, cancels the handler.
    #[cold]
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Progress {
        if self.link.is_refusing() {
            return Progress::Waiting;
        }
        if self.handler.is_none() {
            return Progress::Over;
        }
        if self.link.poll_client_left(cx).is_ready() {
            self.link.end(&WebSocketDisconnect::lost());
            self.cancel_handler();
            self.socket_ended();
            return Progress::Over;
        }
        if self.link.end_value().is_some() {
            // Refused: what the handler still does concerns no socket.
            self.socket_ended();
            return Progress::Over;
        }
        Progress::Waiting
    }

    #[cold]
    fn cancel_handler(&mut self) {
        let handler = self.handler.take();
        // What a handler owns may panic when it is dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
            tracing::error!(route = self.link.route(), id = %self.link.id(), "a cancelled handler panicked");
        }
    }

    /// The socket is over, and the handler goes on: one that takes no notice has a deadline.
    #[cold]
    fn time_handler(&mut self) {
        if self.link.is_told() {
            self.handler_deadline = None;
        } else if self.link.is_abandoned() {
            self.cancel_handler();
        } else if self.handler_deadline.is_none() {
            let timeout = self.link.config().handler_timeout;
            self.handler_deadline = timeout.map(|after| Box::new(Deadline::new(&self.link, Purpose::Handler, after)));
        }
    }

    /// The socket closes now, whatever the handler still does. A handler that goes on takes no seat.
    #[cold]
    fn socket_ended(&mut self) {
        self.io = Io::Over;
        self.unlist();
    }

    fn unlist(&mut self) {
        if let Some(registry) = &self.registry
            && std::mem::take(&mut self.is_listed)
        {
            registry.remove(self.link.id());
        }
    }

    #[inline]
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.knows_waker {
            // The runtime polls a task with one and the same waker for all its life.
            let mut state = self.link.lock();
            state.task = Some(cx.waker().clone());
            state.worker = worker::here();
            drop(state);
            self.knows_waker = true;
        }
        let outer = exchange::begin_poll();
        // The socket comes first: a handler that waits for a message is then polled once, with it.
        let mut turn = Turn::new(self.link.signals.take(HANDLER));
        let progress = loop {
            match self.poll_io(cx, &mut turn) {
                Progress::Handler => {}
                _ if turn.handler_is_due => {}
                progress => break progress,
            }
            turn.handler_is_due = false;
            self.poll_handler(&mut turn);
        };
        self.link.meter().end_poll();
        exchange::end_poll(outer);
        if progress == Progress::Waiting {
            if let Io::Open(driver) = &mut self.io {
                driver.keep(turn);
            }
            return Poll::Pending;
        }
        if self.handler.is_some() {
            self.time_handler();
        }
        if self.handler.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.span.is_none() {
            return this.poll_all(cx);
        }
        let span = std::mem::take(&mut this.span);
        let entered = span.enter();
        let polled = this.poll_all(cx);
        drop(entered);
        this.span = span;
        polled
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        // A runtime that ends drops its tasks: whoever still holds a sender learns that nobody writes any more.
        let entered = self.span.enter();
        self.link.end(&WebSocketDisconnect::lost());
        drop(entered);
        if let Some(end) = self.link.end_value() {
            self.span.record(&end);
        }
        self.link.lock().task = None;
        self.unlist();
        if let Some(registry) = &self.registry {
            registry.task_ended();
        }
    }
}

impl fmt::Debug for ConnectionTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTask").field("id", &self.link.id()).finish_non_exhaustive()
    }
}
