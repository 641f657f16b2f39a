//! What a connection's task shares with the handler, with senders and with groups.
//!
//! The task owns the socket. Everybody else meets it here: messages come out of `inbox`, frames go into `outbound`, and
//! the lock is held for a few instructions, never over I/O or a wake.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use axum::response::Response;
use bytes::Bytes;
use nexios_proto::{CloseCode, MaskKey, Message, Role};
use tokio::sync::oneshot;

use super::ending::CloseRequest;
use super::inbox::Inbox;
use super::outbound::Outbound;
use super::transport::Transport;
use super::waiters::Waiters;
use crate::Result;
use crate::config::Config;
use crate::disconnect::WebSocketDisconnect;
use crate::groups::{GroupError, Membership};
use crate::sender::ConnectionId;
use crate::websocket::StateError;

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
    /// Where the handshake's answer goes; without one, dropping it refuses.
    pub(super) respond: Option<oneshot::Sender<Response>>,
    /// The socket, once the handshake is over, until the task takes it.
    pub(super) accepted: Option<Box<Accepted>>,
    pub(super) task: Option<Waker>,
    pub(super) waiters: Waiters,
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

impl Link {
    pub(crate) fn new(
        role: Role,
        route: Arc<str>,
        config: Arc<Config>,
        respond: Option<oneshot::Sender<Response>>,
    ) -> Arc<Self> {
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
                respond,
                accepted: None,
                task: None,
                waiters: Waiters::default(),
                memberships: Vec::new(),
            }),
        })
    }

    #[inline]
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The route's path as it was declared, for logs.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    #[inline]
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    #[inline]
    pub(super) fn role(&self) -> Role {
        self.role
    }

    // A panic cannot leave the state half-changed: nothing in here calls foreign code but wakers, and those after the lock.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a membership, while there may be one more; the error says why not.
    pub(crate) fn add_membership(&self, membership: Membership) -> Result {
        let mut state = self.lock();
        state.check_open()?;
        if !self.config.groups_per_connection.allows(state.memberships.len() + 1) {
            return Err(GroupError::TooManyGroups { limit: self.config.groups_per_connection }.into());
        }
        state.memberships.push(membership);
        Ok(())
    }

    pub(crate) fn remove_membership(&self, is: impl Fn(&Membership) -> bool) {
        let mut state = self.lock();
        let removed = state.memberships.iter().position(is).map(|at| state.memberships.swap_remove(at));
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

    #[inline]
    pub(crate) fn mask_key(&self) -> Option<MaskKey> {
        // RFC 6455 §10.3: a key that nobody can foretell, from a generator that is fit for secrets.
        (self.role == Role::Client).then(|| MaskKey::from(rand::random::<u32>()))
    }

    /// Answers the handshake; false when the client has left, or the handler has returned without an answer.
    pub(crate) fn respond(&self, response: Response) -> bool {
        let respond = self.lock().respond.take();
        respond.is_some_and(|respond| respond.send(response).is_ok())
    }

    /// The handshake is over: the socket goes to the task, and the connection is open.
    pub(crate) fn open(&self, transport: Transport, read_ahead: Bytes) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return;
        }
        state.accepted = Some(Box::new(Accepted { transport, read_ahead }));
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

    // ---- timers

    /// The wheel calls this when the deadline that the task asked for has come.
    pub(super) fn fire_timer(&self) {
        self.timer_fired.store(true, Ordering::Relaxed);
        let waker = self.lock().task.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[inline]
    pub(super) fn take_timer(&self) -> bool {
        // A plain load first: the swap would be an atomic operation in every poll.
        self.timer_fired.load(Ordering::Relaxed) && self.timer_fired.swap(false, Ordering::Relaxed)
    }
}

impl State {
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.outbound.len() + self.in_flight
    }

    #[inline]
    pub(super) fn check_open(&self) -> Result {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Handshake => Err(StateError::NotAccepted.into()),
            Phase::Closing(end) | Phase::Ended(end) => Err(end.clone().into()),
        }
    }

    /// Puts a message where `receive` finds it; the waker of a `receive` that waits is the caller's to use.
    #[inline]
    pub(super) fn deliver(&mut self, message: Message) -> Option<&Waker> {
        self.inbox.push(message);
        self.waiters.take_receiver()
    }
}
