//! What a connection's task shares with the handler, with senders and with groups.
//!
//! The task owns the socket. Everybody else meets it here: messages come out of `inbox`, frames go into `outbound`, and
//! the lock is held for a few instructions, never over I/O or a wake.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use nexios_proto::{CloseCode, CloseFrame, MaskKey, Message, Role, encode};

use super::outbound::{COPY_MAX, Outbound};
use super::transport::Transport;
use crate::config::Config;
use crate::disconnect::{Cause, EndedBy, WebSocketDisconnect};
use crate::groups::{GroupError, Membership};
use crate::sender::ConnectionId;
use crate::websocket::StateError;
use crate::{Error, Result};

/// Messages that were read ahead of the handler take at most this many bytes; beyond it the socket is not read.
const READ_AHEAD: usize = 64 * 1024;

/// What a message that was read ahead costs besides its payload.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

#[derive(Debug)]
pub(crate) struct Link {
    id: ConnectionId,
    role: Role,
    route: Arc<str>,
    config: Arc<Config>,
    timer_fired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) inbox: Inbox,
    pub(super) outbound: Outbound,
    /// Bytes that the task took out of `outbound` and that the socket has not taken yet.
    pub(super) in_flight: usize,
    /// Asked for by the application; the task sends it behind what is queued.
    pub(super) close: Option<CloseRequest>,
    /// The close code for a message that the handler did not expect, until it receives again.
    pub(super) unexpected: Option<CloseCode>,
    /// The `WebSocket` is gone: nobody will receive.
    pub(super) dropped: bool,
    /// The handler has failed; the error is on its way out through the middleware, and decides the close code.
    pub(super) handler_failed: bool,
    /// The socket, once the handshake is over, until the task takes it.
    pub(super) accepted: Option<Box<Accepted>>,
    pub(super) task: Option<Waker>,
    receiver: Option<Waker>,
    receiver_waits: bool,
    room_waiters: Vec<Waker>,
    pub(super) memberships: Vec<Membership>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Before the 101: no socket yet.
    Handshake,
    Open,
    /// A Close frame was received, or is asked for or sent: nothing more is taken for sending. What is known so far.
    Closing(WebSocketDisconnect),
    Ended(WebSocketDisconnect),
}

/// A socket whose handshake is over, and what was read of it behind the handshake.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(super) transport: Transport,
    pub(super) read_ahead: Bytes,
}

#[derive(Debug)]
pub(super) struct CloseRequest {
    pub(super) frame: CloseFrame,
    pub(super) cause: Cause,
}

/// Messages that the handler has not taken yet: usually none or one, which needs no list.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    next: Option<Message>,
    more: VecDeque<Message>,
    bytes: usize,
}

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
    pub(crate) fn new(role: Role, route: Arc<str>, config: Arc<Config>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: ConnectionId::new(NEXT.fetch_add(1, Ordering::Relaxed)),
            role,
            route,
            config,
            timer_fired: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::Handshake,
                inbox: Inbox::default(),
                outbound: Outbound::default(),
                in_flight: 0,
                close: None,
                unexpected: None,
                dropped: false,
                handler_failed: false,
                accepted: None,
                task: None,
                receiver: None,
                receiver_waits: false,
                room_waiters: Vec::new(),
                memberships: Vec::new(),
            }),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The route's path as it was declared, for logs.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    // A panic cannot leave the state half-changed: nothing in here calls foreign code but wakers, and those after the lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a membership, while there may be one more; the error says why not.
    pub(crate) fn add_membership(&self, membership: Membership) -> Result {
        let mut state = self.lock();
        state.check_open()?;
        if !self
            .config
            .groups_per_connection
            .allows(state.memberships.len() + 1)
        {
            return Err(GroupError::TooManyGroups {
                limit: self.config.groups_per_connection,
            }
            .into());
        }
        state.memberships.push(membership);
        Ok(())
    }

    pub(crate) fn remove_membership(&self, is: impl Fn(&Membership) -> bool) {
        let mut state = self.lock();
        let removed = state
            .memberships
            .iter()
            .position(is)
            .map(|at| state.memberships.swap_remove(at));
        drop(state);
        drop(removed);
    }

    /// Takes no more for sending, and leaves every group: the connection is closing.
    pub(super) fn begin_closing(&self, expected: &WebSocketDisconnect) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Ended(_)) {
            state.phase = Phase::Closing(expected.clone());
        }
        // No group takes a closing connection: nothing is added behind this.
        let memberships = std::mem::take(&mut state.memberships);
        drop(state);
        for membership in memberships {
            membership.end(self.id);
        }
    }

    pub(crate) fn mask_key(&self) -> Option<MaskKey> {
        // RFC 6455 §10.3: a key that a page's script cannot foretell. `fastrand` is seeded per thread from the system's
        // randomness; no secret depends on it.
        (self.role == Role::Client).then(|| MaskKey::from(fastrand::u32(..)))
    }

    /// The handshake is over: the socket goes to the task, and the connection is open.
    pub(crate) fn open(&self, transport: Transport, read_ahead: Bytes) {
        let mut state = self.lock();
        state.accepted = Some(Box::new(Accepted {
            transport,
            read_ahead,
        }));
        state.phase = match &state.close {
            Some(request) => Phase::Closing(request.expected_end()),
            None => Phase::Open,
        };
        let waker = state.task.clone();
        drop(state);
        // For a `WebSocket` that was moved to another task; in its own, the task looks after each turn of the handler.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The handler has returned an error or panicked; its `WebSocket` is gone, but middleware may still act on it.
    pub(crate) fn handler_failed(&self) {
        self.lock().handler_failed = true;
    }

    // ---- receiving

    /// Takes the next message, or leaves `cx` to be woken for it.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let mut state = self.lock();
        state.unexpected = None;
        if let Some(message) = state.inbox.pop() {
            return Poll::Ready(Ok(message));
        }
        if let Phase::Ended(end) = &state.phase {
            return Poll::Ready(Err(end.clone().into()));
        }
        state.receiver_waits = true;
        match &mut state.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Notes that the handler was given what it did not expect: should it end now, that is the close code.
    pub(crate) fn received_unexpected(&self, code: CloseCode) {
        self.lock().unexpected = Some(code);
    }

    // ---- sending

    /// Queues a message of the handler itself; it waits while half of the queue is taken.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, message: &Message) -> Poll<Result> {
        let mut state = self.lock();
        if let Err(error) = state.check_open() {
            return Poll::Ready(Err(error));
        }
        if state.queued() > self.config.send_waits_above() {
            state.room_waiters.push(cx.waker().clone());
            return Poll::Pending;
        }
        let first = state.append(message, self.mask_key());
        self.wake_for_outbound(state, first, cx);
        Poll::Ready(Ok(()))
    }

    /// Waits until at most half of the queue is taken.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result> {
        let mut state = self.lock();
        if let Err(error) = state.check_open() {
            return Poll::Ready(Err(error));
        }
        if state.queued() > self.config.send_waits_above() {
            state.room_waiters.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a message that comes from outside of the handler, without waiting.
    pub(crate) fn enqueue(&self, message: &Message) -> Enqueued {
        let append = |outbound: &mut Outbound| append_message(outbound, message, self.mask_key());
        self.append_with(message.len(), append, Waker::wake)
    }

    /// Queues a frame that was encoded once for many. The task's waker goes to `wakers`: the caller holds a lock.
    pub(crate) fn enqueue_shared(&self, frame: &Bytes, wakers: &mut Vec<Waker>) -> Enqueued {
        self.append_with(
            frame.len(),
            |outbound| outbound.append_shared(frame),
            |waker| wakers.push(waker),
        )
    }

    fn append_with(
        &self,
        len: usize,
        append: impl FnOnce(&mut Outbound),
        wake: impl FnOnce(Waker),
    ) -> Enqueued {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Open) {
            return Enqueued::NotOpen;
        }
        // A message that is larger than the whole queue still goes to a peer for whom nothing waits.
        let queued = state.queued();
        if queued > 0 && queued + len > self.config.outbound_queue {
            return Enqueued::Full;
        }
        let first = state.outbound.is_empty();
        append(&mut state.outbound);
        let waker = first.then(|| state.task.clone()).flatten();
        drop(state);
        if let Some(waker) = waker {
            wake(waker);
        }
        Enqueued::Queued
    }

    /// The error that stands for [`Enqueued::NotOpen`].
    pub(crate) fn why_not_open(&self) -> Error {
        self.lock()
            .check_open()
            .err()
            .unwrap_or_else(|| WebSocketDisconnect::lost().into())
    }

    // The task itself writes after each poll of its handler: only others need to wake it.
    fn wake_for_outbound(&self, state: MutexGuard<'_, State>, first: bool, cx: &Context<'_>) {
        let waker = match &state.task {
            Some(task) if first && !task.will_wake(cx.waker()) => Some(task.clone()),
            _ => None,
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    // ---- closing

    /// Asks the task to close; false when it was closing or over already.
    pub(crate) fn request_close(&self, frame: CloseFrame, cause: Cause) -> bool {
        let mut state = self.lock();
        if state.close.is_some() || matches!(state.phase, Phase::Closing(_) | Phase::Ended(_)) {
            return false;
        }
        let request = CloseRequest { frame, cause };
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing(request.expected_end());
        }
        state.close = Some(request);
        let waker = state.task.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The handler has returned: closes with this verdict, or with the one for success. A connection that was never
    /// accepted is over.
    pub(crate) fn conclude(&self, verdict: Option<(CloseCode, Cause)>) {
        let state = self.lock();
        let (code, cause) = verdict.unwrap_or_else(|| state.verdict_of_ok());
        let is_open = !matches!(state.phase, Phase::Handshake);
        drop(state);
        if is_open {
            self.request_close(CloseFrame::new(code, ""), cause);
        } else {
            self.end(WebSocketDisconnect::lost());
        }
    }

    /// The peer did not read what others sent to it.
    pub(crate) fn close_slow_consumer(&self) {
        self.request_close(
            CloseFrame::new(CloseCode::POLICY_VIOLATION, "slow consumer"),
            Cause::SlowConsumer,
        );
    }

    /// Waits for the end of the connection.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<WebSocketDisconnect> {
        let mut state = self.lock();
        if let Phase::Ended(end) = &state.phase {
            return Poll::Ready(end.clone());
        }
        state.room_waiters.push(cx.waker().clone());
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

    /// The handler's `WebSocket` is gone: the task closes, unless the handler's own result is still to come.
    pub(crate) fn websocket_dropped(&self) {
        let mut state = self.lock();
        state.dropped = true;
        state.inbox.clear();
        let waker = state.task.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    // ---- timers

    /// The wheel calls this when the deadline that the task asked for has come.
    pub(super) fn fire_timer(&self) {
        self.timer_fired.store(true, Ordering::Relaxed);
        let waker = self.lock().task.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn take_timer(&self) -> bool {
        // A plain load first: the swap would be an atomic operation in every poll.
        self.timer_fired.load(Ordering::Relaxed) && self.timer_fired.swap(false, Ordering::Relaxed)
    }
}

impl CloseRequest {
    fn expected_end(&self) -> WebSocketDisconnect {
        WebSocketDisconnect::new(EndedBy::Local, self.cause, None, Some(self.frame.clone()))
    }
}

impl State {
    pub(super) fn queued(&self) -> usize {
        self.outbound.len() + self.in_flight
    }

    pub(super) fn check_open(&self) -> Result {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Handshake => Err(StateError::NotAccepted.into()),
            Phase::Closing(end) | Phase::Ended(end) => Err(end.clone().into()),
        }
    }

    fn append(&mut self, message: &Message, key: Option<MaskKey>) -> bool {
        let first = self.outbound.is_empty();
        append_message(&mut self.outbound, message, key);
        first
    }

    /// True while the handler should be given a message before another is parsed.
    pub(super) fn has_room(&self) -> bool {
        self.inbox.bytes < READ_AHEAD
    }

    /// Puts a message where `receive` finds it; the waker of a `receive` that waits is the caller's to use.
    pub(super) fn deliver(&mut self, message: Message) -> Option<&Waker> {
        self.inbox.push(message);
        self.take_receiver()
    }

    pub(super) fn take_receiver(&mut self) -> Option<&Waker> {
        std::mem::take(&mut self.receiver_waits)
            .then_some(self.receiver.as_ref())
            .flatten()
    }

    /// The Close frame that the application asked for, or that follows from a `WebSocket` that it dropped.
    pub(super) fn take_close(&mut self) -> Option<CloseRequest> {
        if self.dropped
            && !self.handler_failed
            && self.close.is_none()
            && matches!(self.phase, Phase::Open)
        {
            let (code, cause) = self.verdict_of_ok();
            let request = CloseRequest {
                frame: CloseFrame::new(code, ""),
                cause,
            };
            self.phase = Phase::Closing(request.expected_end());
            return Some(request);
        }
        self.close.take()
    }

    /// How a connection ends whose handler did not fail.
    fn verdict_of_ok(&self) -> (CloseCode, Cause) {
        match self.unexpected {
            Some(code) => (code, Cause::UnexpectedMessage),
            None => (CloseCode::NORMAL, Cause::Closed),
        }
    }

    pub(super) fn has_room_waiters(&self) -> bool {
        !self.room_waiters.is_empty()
    }

    /// Those who wait for room in the queue, or for the end.
    pub(super) fn take_room_waiters(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.room_waiters)
    }

    /// Lets go of the wakers: they hold the task's memory.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = self.take_room_waiters();
        wakers.extend(self.receiver.take());
        wakers
    }
}

impl Inbox {
    fn pop(&mut self) -> Option<Message> {
        let message = self.next.take()?;
        self.bytes -= message.len() + MESSAGE_OVERHEAD;
        self.next = self.more.pop_front();
        if self.next.is_none() && self.more.capacity() > 0 {
            self.more = VecDeque::new();
        }
        Some(message)
    }

    fn push(&mut self, message: Message) {
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

fn append_message(outbound: &mut Outbound, message: &Message, key: Option<MaskKey>) {
    if key.is_some() || message.len() <= COPY_MAX {
        outbound.append_with(|tail| encode::message(message, key, tail));
    } else {
        outbound.append_with(|tail| encode::message_header(message, tail));
        outbound.append_shared(&message.clone().into_bytes());
    }
}
