//! What is sent: by the handler, which waits for room, and by others, who do not.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use nexios_proto::{MaskKey, Message, encode};

use super::exchange;
use super::link::{Link, Phase, State};
use super::outbound::{COPY_MAX, Outbound};
use super::signals::{CLOSE, OUTBOUND, ROOM};
use crate::disconnect::WebSocketDisconnect;
use crate::{Error, Result};

/// What became of a message for somebody else's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    Queued,
    /// No room: nothing was queued.
    Full,
    /// The connection is closing, over, or not yet accepted.
    NotOpen,
}

impl Link {
    /// Queues a message of the handler itself, and takes it out of `message`; it waits while half of the queue is taken.
    #[inline]
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, message: &mut Option<Message>) -> Poll<Result> {
        // Nothing was queued by others that has to leave before, and no close was asked for.
        if !self.signals.any(OUTBOUND | CLOSE)
            && let Some(taken) = message.take_if(|message| is_small(message))
        {
            let key = self.mask_key();
            if exchange::send(self.id(), taken.len(), |sent| append_copied(sent, &taken, key)) {
                return Poll::Ready(Ok(()));
            }
            *message = Some(taken);
        }
        self.poll_enqueue(cx, message)
    }

    fn poll_enqueue(&self, cx: &mut Context<'_>, message: &mut Option<Message>) -> Poll<Result> {
        let mut state = self.lock();
        std::task::ready!(self.poll_room_in(&mut state, cx))?;
        let first = state.outbound.is_empty();
        if let Some(message) = message.take() {
            append(&mut state.outbound, message, self.mask_key());
        }
        self.signals.set(OUTBOUND);
        // The task itself writes after each poll of its handler: only from elsewhere it needs to be woken.
        let waker = if first && !self.is_own(cx.waker()) { state.task.clone() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until at most half of the queue is taken.
    #[inline]
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result> {
        self.poll_room_in(&mut self.lock(), cx)
    }

    fn poll_room_in(&self, state: &mut State, cx: &Context<'_>) -> Poll<Result> {
        if let Err(error) = state.check_open() {
            return Poll::Ready(Err(error));
        }
        if state.queued() > self.config().send_waits_above() {
            state.waiters.wait_for_room(cx.waker());
            self.signals.set(ROOM);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a message that comes from outside of the handler, without waiting.
    pub(crate) fn enqueue(&self, message: &Message) -> Enqueued {
        let queue = |outbound: &mut Outbound| {
            let key = self.mask_key();
            if is_copied(message, key) {
                append_copied(outbound, message, key);
            } else {
                append_large(outbound, message.clone());
            }
        };
        self.enqueue_with(message.len(), queue, Waker::wake)
    }

    /// Queues a frame that was encoded once for many. The task's waker goes to `wakers`: the caller holds a lock.
    #[inline]
    pub(crate) fn enqueue_shared(&self, frame: &Bytes, wakers: &mut Vec<Waker>) -> Enqueued {
        self.enqueue_with(frame.len(), |outbound| outbound.append_shared(frame), |waker| wakers.push(waker))
    }

    #[inline]
    fn enqueue_with(&self, len: usize, queue: impl FnOnce(&mut Outbound), wake: impl FnOnce(Waker)) -> Enqueued {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Open) {
            return Enqueued::NotOpen;
        }
        // A message that is larger than the whole queue still goes to a peer for whom nothing waits.
        let queued = state.queued();
        if queued > 0 && queued + len > self.config().outbound_queue {
            return Enqueued::Full;
        }
        let first = state.outbound.is_empty();
        queue(&mut state.outbound);
        let waker = if first {
            self.signals.set(OUTBOUND);
            if exchange::is_turn_of(self.id()) { None } else { state.task.clone() }
        } else {
            None
        };
        drop(state);
        if let Some(waker) = waker {
            wake(waker);
        }
        Enqueued::Queued
    }

    /// The error that stands for [`Enqueued::NotOpen`].
    pub(crate) fn why_not_open(&self) -> Error {
        self.lock().check_open().err().unwrap_or_else(|| WebSocketDisconnect::lost().into())
    }
}

#[inline]
fn append(outbound: &mut Outbound, message: Message, key: Option<MaskKey>) {
    if is_copied(&message, key) { append_copied(outbound, &message, key) } else { append_large(outbound, message) }
}

/// Masking copies anyway.
#[inline]
fn is_copied(message: &Message, key: Option<MaskKey>) -> bool {
    key.is_some() || is_small(message)
}

#[inline]
fn is_small(message: &Message) -> bool {
    message.len() <= COPY_MAX
}

#[inline]
fn append_copied(outbound: &mut Outbound, message: &Message, key: Option<MaskKey>) {
    outbound.append_with(|tail| encode::message(message, key, tail));
}

fn append_large(outbound: &mut Outbound, message: Message) {
    outbound.append_with(|tail| encode::message_header(&message, tail));
    outbound.append_owned(message.into_bytes());
}
