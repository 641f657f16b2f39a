//! Writing from the sweep: the socket of a member for whom nothing else waits takes what was published without a turn of its
//! task.
//!
//! The task of such a member is on the same thread, so it does not run meanwhile. What its socket does not take goes the usual
//! way: back to the front of the queue, and the task is woken.

use std::sync::Arc;
use std::task::Waker;

use tokio::net::TcpStream;

use super::exchange;
use super::link::{Link, Phase, Socket, State};
use super::outbound::Outbound;
use super::signals::{OUTBOUND, ROOM};
use super::transport::Transport;
use super::waiters::wake_all;
use super::worker;
use crate::observe::Tally;

/// How much of what waits message by message is written at once, in bytes: what is taken can no longer be dropped.
pub(super) const BACKLOG_PIECE: usize = 16 * 1024;

/// A connection that has something to write.
#[derive(Debug)]
pub(crate) enum Due {
    /// Its task has to.
    Wake(Waker),
    /// Whoever is on its thread may.
    Write(Arc<Link>),
    /// The same, and soon: more waits than may, and its socket was not offered it.
    Offer(Arc<Link>),
}

impl Due {
    /// Wakes the task.
    pub(super) fn wake(self) {
        match self {
            Self::Wake(waker) => waker.wake(),
            Self::Write(link) | Self::Offer(link) => link.wake_task(),
        }
    }

    /// Whether it does not wait for the end of the tick.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self, Self::Offer(_))
    }

    /// Writes, on the thread of its worker.
    #[inline]
    pub(super) fn write(self) {
        match self {
            Self::Wake(waker) => waker.wake(),
            Self::Write(link) | Self::Offer(link) => link.offer(),
        }
    }
}

impl Link {
    /// Lets sweeps write, where the task stays on one thread.
    pub(super) fn share_socket(&self, transport: &Transport) {
        if let Transport::Tcp(stream) = transport
            && worker::here() != worker::NOWHERE
        {
            self.lock().socket = Socket::Shared(Arc::clone(stream));
        }
    }

    /// Its socket can be offered something from here.
    pub(super) fn can_offer(&self, state: &State) -> bool {
        worker::is_here(state.worker) && state.socket.shared().is_some() && !exchange::is_turn_of(self.id())
    }

    /// Something was queued by a sweep: `first`, behind nothing.
    #[inline]
    pub(super) fn due(self: &Arc<Self>, state: &State, first: bool) -> Option<Due> {
        let waker = self.to_wake(state, first)?;
        Some(if state.socket.shared().is_some() { Due::Write(Arc::clone(self)) } else { Due::Wake(waker.clone()) })
    }

    /// Offers the socket what is queued, on the thread of the connection's worker. What it refuses is left to the task.
    pub(super) fn offer(&self) {
        while self.offer_piece() {}
    }

    /// Whether the socket took a piece, and more is there.
    fn offer_piece(&self) -> bool {
        let Some((socket, mut writing)) = self.take_offer() else {
            self.wake_task();
            return false;
        };
        let len = writing.len();
        let written = writing.as_single().map_or(0, |bytes| socket.try_write(bytes).unwrap_or(0));
        writing.advance(written);
        Tally::written(written);
        let mut state = self.lock();
        state.in_flight = 0;
        state.is_refused = written < len;
        writing.append_all(&mut state.outbound);
        state.outbound = writing;
        let waiters = if self.signals.any(ROOM) { state.waiters.take_for_room() } else { Vec::new() };
        let has_more = !state.outbound.is_empty() || state.backlog.is_some();
        let task = if has_more && written < len {
            self.signals.set(OUTBOUND);
            state.task.clone()
        } else {
            None
        };
        drop(state);
        wake_all(waiters);
        let goes_on = has_more && task.is_none();
        if let Some(task) = task {
            task.wake();
        }
        goes_on
    }

    /// What is queued, if the socket is all that it waits for. Whoever queues something meanwhile does so behind it.
    fn take_offer(&self) -> Option<(Arc<TcpStream>, Outbound)> {
        let mut state = self.lock();
        let may_offer = matches!(state.phase, Phase::Open)
            && state.in_flight == 0
            && !state.is_refused
            && !exchange::is_turn_of(self.id());
        let socket = state.socket.shared().filter(|_| may_offer).map(Arc::clone)?;
        let mut writing = Outbound::default();
        state.move_queued(&mut writing, BACKLOG_PIECE, &self.signals);
        state.in_flight = u32::try_from(writing.len()).unwrap_or(u32::MAX);
        Some((socket, writing))
    }
}
