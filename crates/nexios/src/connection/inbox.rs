//! What was read and not yet received.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use nexios_proto::{CloseCode, Message};

use super::link::{Link, Phase};
use crate::Result;

/// Messages that were read ahead of the handler take at most this many bytes; beyond it the socket is not read.
const READ_AHEAD: usize = 64 * 1024;

/// What a message that was read ahead costs besides its payload.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

/// Messages that the handler has not taken yet: usually none or one, which needs no list.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    next: Option<Message>,
    more: VecDeque<Message>,
    bytes: usize,
}

impl Link {
    /// Takes the next message, or leaves `cx` to be woken for it.
    #[inline]
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let mut state = self.lock();
        state.unexpected = None;
        let was_full = !state.inbox.has_room();
        if let Some(message) = state.inbox.pop() {
            // The task stopped reading; polled by the task itself, it looks again right afterwards.
            let reads_again = was_full && state.inbox.has_room();
            let task = state.task.as_ref().filter(|task| reads_again && !task.will_wake(cx.waker())).cloned();
            drop(state);
            if let Some(task) = task {
                task.wake();
            }
            return Poll::Ready(Ok(message));
        }
        if let Phase::Ended(end) = &state.phase {
            return Poll::Ready(Err(end.clone().into()));
        }
        state.waiters.wait_for_message(cx.waker());
        Poll::Pending
    }

    /// Notes that the handler was given what it did not expect: should it end now, that is the close code.
    pub(crate) fn received_unexpected(&self, code: CloseCode) {
        self.lock().unexpected = Some(code);
    }
}

impl Inbox {
    /// False when the handler has to take a message before another is parsed.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.bytes < READ_AHEAD
    }

    #[inline]
    fn pop(&mut self) -> Option<Message> {
        let message = self.next.take()?;
        self.bytes -= message.len() + MESSAGE_OVERHEAD;
        self.next = self.more.pop_front();
        if self.next.is_none() && self.more.capacity() > 0 {
            self.more = VecDeque::new();
        }
        Some(message)
    }

    #[inline]
    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.len() + MESSAGE_OVERHEAD;
        if self.next.is_none() {
            self.next = Some(message);
        } else {
            self.more.push_back(message);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
