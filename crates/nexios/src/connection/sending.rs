//! What is sent: by the handler, which waits for room, and by others, who do not.

use std::task::{Context, Poll, Waker};

use nexios_proto::{MaskKey, Message, encode};

use super::deflate::Prepared;
use super::exchange;
use super::link::{Link, Phase, State};
use super::outbound::{COPY_MAX, Outbound};
use super::signals::{BACKLOG, CLOSE, OUTBOUND, ROOM};
use super::tick;
use super::worker;
use crate::observe::Tally;
use crate::{Error, Result};

/// What became of a message for somebody else's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    Queued,
    /// No room: nothing was queued.
    Full,
    /// No room, and nobody is to mind.
    Dropped,
    /// No room for a merged publication: its parts have to be queued one by one.
    Piecewise,
    /// The receiver gets texts of groups in envelopes only, and this one has none yet: nothing was queued.
    Unenveloped,
    /// The connection is closing, over, or not yet accepted.
    NotOpen,
}

/// Room for a message in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Within the bound.
    Within,
    /// Beyond it, while the socket is still to be offered what waits.
    Unoffered,
}

/// What becomes of a message beyond the bound of a queue whose socket could not be offered it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unoffered {
    /// It is taken: else its connection would be closed, or the message lost.
    Take,
    /// It finds no room, which is no harm: whoever sends it has it back.
    Refuse,
}

/// How often the bound of a queue may stand in it before the socket was offered anything: the connection's task is another
/// thread's, or its turn is late.
const OVERRUN: usize = 8;

/// What may stand there for a small bound, in bytes.
const UNOFFERED: usize = 8 * 1024 * 1024;

impl Link {
    /// Queues a message of the handler itself, and takes it out of `message`; it waits while half of the queue is taken.
    #[inline]
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, message: &mut Option<Message>, form: Form) -> Poll<Result> {
        if let Some(small) = message.as_ref().filter(|message| is_small(message))
            && self.coding(small.len()).is_none()
            && self.send_in_turn(small.len(), |sent, key| append_copied(sent, small, key))
        {
            *message = None;
            return Poll::Ready(Ok(()));
        }
        self.poll_enqueue(cx, message, form)
    }

    /// Appends to what the handler sends in its turn, if it is one, and nothing that others queued has to leave before.
    #[inline]
    fn send_in_turn(&self, len: usize, append: impl FnOnce(&mut Outbound, Option<MaskKey>)) -> bool {
        let sent = !self.signals.any(OUTBOUND | CLOSE | BACKLOG)
            && exchange::send(self.id(), len, |sent| append(sent, self.mask_key()));
        if sent {
            Tally::sent();
        }
        sent
    }

    fn poll_enqueue(&self, cx: &mut Context<'_>, message: &mut Option<Message>, form: Form) -> Poll<Result> {
        tick::catch_up();
        // Before it is compressed: a handler may wait here many times.
        std::task::ready!(self.poll_room(cx))?;
        let Some(taken) = message.take() else { return Poll::Ready(Ok(())) };
        let prepared = self.prepare(&taken, form);
        let prepared = match self.send_compressed_in_turn(prepared) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(prepared) => prepared,
        };
        let mut state = self.lock();
        if let Err(error) = state.check_open() {
            state.is_told = true;
            prepared.abandon(&mut state);
            return Poll::Ready(Err(error));
        }
        // The task itself writes after each poll of its handler: only from elsewhere it needs to be woken.
        let waker = self.append(&mut state, prepared).filter(|_| !self.is_own(cx.waker()));
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// As [`send_in_turn`](Self::send_in_turn), where the order of compressing does not matter.
    fn send_compressed_in_turn<'a>(&self, prepared: Prepared<'a>) -> Result<(), Prepared<'a>> {
        if !prepared.is_compressed() || prepared.is_lent() {
            return Err(prepared);
        }
        let len = prepared.len();
        let mut prepared = Some(prepared);
        self.send_in_turn(len, |sent, key| {
            if let Some(prepared) = prepared.take() {
                prepared.append_compressed(sent, key);
            }
        });
        prepared.map_or(Ok(()), Err)
    }

    /// Waits until at most half of the queue is taken.
    #[inline]
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result> {
        self.poll_room_in(&mut self.lock(), cx)
    }

    fn poll_room_in(&self, state: &mut State, cx: &Context<'_>) -> Poll<Result> {
        if let Err(error) = state.check_open() {
            state.is_told = true;
            return Poll::Ready(Err(error));
        }
        if state.must_arrive() > self.config().send_waits_above() {
            state.waiters.wait_for_room(cx.waker());
            self.signals.set(ROOM);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a message that comes from outside of the handler, without waiting. Beyond the bound its socket is offered what
    /// waits, where that can be done here; else `unoffered` says whether the message is taken all the same.
    pub(crate) fn enqueue(&self, message: &Message, form: Form, unoffered: Unoffered) -> Enqueued {
        tick::catch_up();
        let prepared = self.prepare(message, form);
        let mut state = self.lock();
        let room = match self.check_room(&state, prepared.len(), usize::MAX, false) {
            Ok(Room::Unoffered) if unoffered == Unoffered::Refuse && !self.can_offer(&state) => {
                prepared.abandon(&mut state);
                return Enqueued::Full;
            }
            Ok(room) => room,
            Err(refusal) => {
                prepared.abandon(&mut state);
                return refusal;
            }
        };
        let waker = self.append(&mut state, prepared);
        let is_here = worker::is_here(state.worker);
        drop(state);
        match waker {
            _ if room == Room::Unoffered && is_here => self.offer(),
            Some(waker) => waker.wake(),
            None => {}
        }
        Enqueued::Queued
    }

    #[inline]
    pub(super) fn check_room(
        &self,
        state: &State,
        len: usize,
        queue: usize,
        is_merged: bool,
    ) -> Result<Room, Enqueued> {
        if !matches!(state.phase, Phase::Open) {
            return Err(Enqueued::NotOpen);
        }
        // A message that is larger than the whole queue still goes to a peer for whom nothing waits.
        let queued = state.must_arrive();
        let bound = self.config().outbound_queue.min(queue);
        if queued + len <= bound || (queued == 0 && !is_merged) {
            return Ok(Room::Within);
        }
        if self.may_overrun(state, queued + len, bound) { Ok(Room::Unoffered) } else { Err(Enqueued::Full) }
    }

    /// The queue may be beyond its bound: the socket was not offered what is in it, so nothing is known of the peer.
    #[cold]
    pub(super) fn may_overrun(&self, state: &State, queued: usize, bound: usize) -> bool {
        !state.is_refused
            && queued <= bound.saturating_mul(OVERRUN).max(UNOFFERED)
            && self.budget().has_room_for(queued)
    }

    /// Appends a message; the waker is the caller's to use, after the lock.
    fn append(&self, state: &mut State, mut prepared: Prepared<'_>) -> Option<Waker> {
        self.meter().sent();
        prepared.give_back(state);
        if let Some(backlog) = &mut state.backlog {
            let mut frame = Outbound::default();
            prepared.append(&mut frame, self.mask_key());
            frame.into_frames().for_each(|frame| backlog.push(frame));
            return None;
        }
        let first = state.outbound.is_empty();
        prepared.append(&mut state.outbound, self.mask_key());
        self.to_wake(state, first)
    }

    /// Who is to be told that something was queued: `first`, behind nothing.
    #[inline]
    pub(super) fn to_wake(&self, state: &State, first: bool) -> Option<Waker> {
        if !first {
            return None;
        }
        self.signals.set(OUTBOUND);
        if exchange::is_turn_of(self.id()) { None } else { state.task.clone() }
    }

    /// The error that stands for [`Enqueued::NotOpen`].
    pub(crate) fn why_not_open(&self) -> Error {
        self.lock().check_open().err().unwrap_or_else(|| self.lost_here().into())
    }
}

/// Whether a message may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the connection has agreed on.
    Any,
    /// As it is.
    Plain,
}

impl Prepared<'_> {
    fn append(self, outbound: &mut Outbound, key: Option<MaskKey>) {
        if self.is_compressed() {
            self.append_compressed(outbound, key);
        } else if key.is_some() || is_small(self.message) {
            // Masking copies anyway.
            append_copied(outbound, self.message, key);
        } else {
            outbound.append_with(|tail| encode::message_header(self.message, tail));
            outbound.append_owned(self.message.clone().into_bytes());
        }
    }
}

#[inline]
fn is_small(message: &Message) -> bool {
    message.len() <= COPY_MAX
}

#[inline]
fn append_copied(outbound: &mut Outbound, message: &Message, key: Option<MaskKey>) {
    outbound.append_with(|tail| encode::message(message, key, tail));
}
