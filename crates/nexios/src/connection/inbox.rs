//! What was read and not yet received.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use nexios_proto::{CloseCode, Message};

use super::exchange::{self, Received};
use super::link::{Link, Phase};
use super::signals::INBOX;
use crate::Result;

/// Messages that were read ahead of the handler take at most this many bytes; beyond it the socket is not read.
const READ_AHEAD: usize = 64 * 1024;

/// What a message that was read ahead costs besides its payload.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

/// Messages that the handler has not taken yet; in a box, since mostly there are none.
#[derive(Debug, Default)]
pub(super) struct Inbox(Option<Box<ReadAhead>>);

#[derive(Debug, Default)]
struct ReadAhead {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Link {
    /// Takes the next message, or leaves `cx` to be woken for it.
    #[inline]
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        if self.unexpected.load(Ordering::Relaxed) != 0 {
            self.unexpected.store(0, Ordering::Relaxed);
        }
        let asked = self.watch.asked(self.meter());
        if self.is_own(cx.waker()) {
            match exchange::receive(self.id(), || self.signals.any(INBOX)) {
                Received::Message(message) => {
                    self.watch.took(self.meter(), asked);
                    return Poll::Ready(Ok(message));
                }
                Received::Waiting => {
                    asked.waits();
                    return Poll::Pending;
                }
                Received::Elsewhere => {}
            }
        }
        let polled = self.poll_inbox(cx);
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.watch.took(self.meter(), asked);
        }
        polled
    }

    fn poll_inbox(&self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let mut state = self.lock();
        let was_full = !state.inbox.has_room();
        if let Some(message) = state.inbox.pop() {
            if state.inbox.is_empty() {
                self.signals.clear(INBOX);
            }
            // The task stopped reading; after its own handler's turn it looks again anyway.
            let reads_again = was_full && state.inbox.has_room() && !self.is_own(cx.waker());
            let task = state.task.as_ref().filter(|_| reads_again).cloned();
            drop(state);
            if let Some(task) = task {
                task.wake();
            }
            return Poll::Ready(Ok(message));
        }
        if let Phase::Ended(end) = &state.phase {
            let end = end.clone();
            state.is_told = true;
            return Poll::Ready(Err(end.into()));
        }
        state.handler_waits = self.is_own(cx.waker());
        if !state.handler_waits {
            state.waiters.wait_for_message(cx.waker());
        }
        Poll::Pending
    }

    /// Notes that the handler was given what it did not expect: should it end now, that is the close code.
    pub(crate) fn received_unexpected(&self, code: CloseCode) {
        self.unexpected.store(code.into(), Ordering::Relaxed);
    }
}

impl Inbox {
    /// False when the handler has to take a message before another is parsed.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.0.as_ref().is_none_or(|ahead| ahead.bytes < READ_AHEAD)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |ahead| ahead.bytes)
    }

    fn pop(&mut self) -> Option<Message> {
        let ahead = self.0.as_mut()?;
        let message = ahead.messages.pop_front()?;
        ahead.bytes -= message.len() + MESSAGE_OVERHEAD;
        if ahead.messages.is_empty() {
            self.0 = None;
        }
        Some(message)
    }

    pub(super) fn push(&mut self, message: Message) {
        let ahead = self.0.get_or_insert_default();
        ahead.bytes += message.len() + MESSAGE_OVERHEAD;
        ahead.messages.push_back(message);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
