//! The one task of a connection: it polls the handler, and does the I/O in between.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::driver::{Driver, Progress, Turn};
use super::link::Link;
use super::registry::Registration;
use crate::disconnect::WebSocketDisconnect;

/// A handler with its middleware around it, up to the verdict on what it returned.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a connection from before the handshake to the end of both the socket and the handler.
///
/// Whatever the handler sends in one poll leaves in one write after it (the socket is corked by itself), and pings are
/// answered while it waits for something else than a message.
pub(crate) struct ConnectionTask {
    link: Arc<Link>,
    /// `None`: it has returned, or this is a client's connection.
    handler: Option<HandlerFuture>,
    io: Io,
    knows_waker: bool,
    _registration: Option<Registration>,
}

#[expect(clippy::large_enum_variant, reason = "a connection is open nearly always: a box would be one allocation more")]
enum Io {
    /// Not accepted yet.
    Handshake,
    Open(Driver),
    Over,
}

impl ConnectionTask {
    /// The task of a connection that the server has been asked for.
    pub(crate) fn serve(link: Arc<Link>, handler: HandlerFuture, registration: Registration) -> Self {
        let registration = Some(registration);
        Self { link, handler: Some(handler), io: Io::Handshake, knows_waker: false, _registration: registration }
    }

    /// The task of a client's connection, whose `WebSocket` is used elsewhere.
    pub(crate) fn client(link: Arc<Link>) -> Self {
        Self { link, handler: None, io: Io::Handshake, knows_waker: false, _registration: None }
    }

    fn poll_handler(&mut self, cx: &mut Context<'_>) {
        if let Some(handler) = &mut self.handler
            && handler.as_mut().poll(cx).is_ready()
        {
            self.handler = None;
            // Returning ends the connection, even if the `WebSocket` lives on in another task.
            self.link.websocket_dropped();
        }
    }

    /// Takes over the socket once `accept` has it.
    fn poll_io(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Progress {
        if matches!(self.io, Io::Handshake) {
            let accepted = self.link.lock().accepted.take();
            match accepted {
                Some(accepted) => self.io = Io::Open(Driver::new(Arc::clone(&self.link), *accepted)),
                None if self.handler.is_some() => return Progress::Waiting,
                None => return Progress::Over,
            }
        }
        let Io::Open(driver) = &mut self.io else { return Progress::Over };
        let progress = driver.poll(cx, turn);
        if progress == Progress::Over {
            // The socket closes now, whatever the handler still does.
            self.io = Io::Over;
        }
        progress
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.knows_waker {
            // The runtime polls a task with one and the same waker for all its life.
            this.link.lock().task = Some(cx.waker().clone());
            this.knows_waker = true;
        }
        let mut turn = Turn::default();
        // The socket comes first: a handler that waits for a message is then polled once, with it. In any case it is
        // polled, because it may wait for something else, and what it did is then carried out.
        this.poll_io(cx, &mut turn);
        let progress = loop {
            this.poll_handler(cx);
            turn.handler_ran = true;
            match this.poll_io(cx, &mut turn) {
                Progress::Handler => {}
                progress => break progress,
            }
        };
        if progress == Progress::Waiting {
            if let Io::Open(driver) = &mut this.io {
                driver.keep(turn);
            }
            return Poll::Pending;
        }
        if this.handler.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        // A runtime that ends drops its tasks: whoever still holds a sender learns that nobody writes any more.
        self.link.end(&WebSocketDisconnect::lost());
        self.link.lock().task = None;
    }
}

impl fmt::Debug for ConnectionTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTask").field("id", &self.link.id()).finish_non_exhaustive()
    }
}
