//! What a connection's task shares with the handler, with senders and with groups.
//!
//! The task owns the socket. Everybody else meets it here: messages come out of `inbox`, frames go into `outbound`, and
//! the lock is held for a few instructions, never over I/O or a wake. The task takes it only when the signals say that
//! there is something for it; its own handler usually needs none of this (see `exchange.rs`).

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, atomic};
use std::task::{Context, Poll, Waker};

use axum::response::Response;
use bytes::Bytes;
use futures_util::task::ArcWake;
use nexios_proto::{MaskKey, Message, Role};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::asked::Asked;
use super::backlog::Backlog;
use super::caller::Caller;
use super::deflate::{Agreed, Window};
use super::ending::CloseRequest;
use super::inbox::Inbox;
use super::outbound::Outbound;
use super::signals::{BACKLOG, HANDLER, INBOX, OUTBOUND, Signals, TIMER};
use super::transport::Transport;
use super::waiters::Waiters;
use super::wheel::Purpose;
use super::worker;
use crate::auth::Users;
use crate::config::Config;
use crate::disconnect::{Cause, WebSocketDisconnect};
use crate::groups::{GroupError, Membership};
use crate::memory_budget::Budget;
use crate::observe::{LogSums, Meter, Watch};
use crate::sender::ConnectionId;
use crate::server::TrustedProxies;
use crate::sync::atomic::{AtomicU16, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::websocket::StateError;
use crate::{Error, Result};

pub(crate) struct Link {
    id: ConnectionId,
    settings: Arc<Settings>,
    pub(super) agreed: OnceLock<Box<Agreed>>,
    pub(super) signals: Signals,
    /// The close code for a message that the handler did not expect, until it receives again; or 0.
    pub(super) unexpected: AtomicU16,
    pub(super) watch: Watch,
    state: Mutex<State>,
}

/// What all connections of a route have in common.
pub(crate) struct Settings {
    pub(crate) role: Role,
    /// The route's path as it was declared, for logs.
    pub(crate) route: Box<str>,
    pub(crate) config: Config,
    pub(crate) on_error: Option<OnError>,
    /// What all connections of the app hold; each of a client's has no limit.
    pub(crate) budget: Arc<Budget>,
    pub(crate) meter: Meter,
    pub(crate) proxies: TrustedProxies,
    /// Where users' connections are listed; a client's own are not.
    pub(crate) users: Option<Arc<Users>>,
    /// For log lines that a peer can cause at will.
    pub(crate) log_sums: LogSums,
}

/// The application's hook for errors.
pub(crate) type OnError = Arc<dyn Fn(&Error) + Send + Sync>;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) inbox: Inbox,
    pub(super) outbound: Outbound,
    /// Behind `outbound`, for a peer that does not keep up.
    pub(super) backlog: Option<Box<Backlog>>,
    /// Bytes that the task took out of `outbound` and that the socket has not taken yet.
    pub(super) in_flight: u32,
    /// The socket took no more when it was last offered something, and has not taken the rest since.
    pub(super) is_refused: bool,
    /// The worker on whose thread the task runs.
    pub(super) worker: u8,
    pub(super) socket: Socket,
    pub(super) window: Window,
    /// Asked for by the application; the task sends it behind what is queued.
    pub(super) close: Option<Box<CloseRequest>>,
    /// The handler waits for a message, under the waker of its own task.
    pub(super) handler_waits: bool,
    /// The `WebSocket` is gone: nobody will receive.
    pub(super) dropped: bool,
    /// Texts of groups come in envelopes, beside which those of the framework cannot be forged. Once set, it stays.
    pub(super) is_enveloped: bool,
    /// The handler has had its time after the connection's end.
    pub(super) is_abandoned: bool,
    /// Whoever uses the connection was told that it has ended, and may have something to do for it.
    pub(super) is_told: bool,
    /// The handshake is refused by a Close frame that is still to be sent.
    pub(super) is_refusing: bool,
    /// The handler has failed; the error is on its way out through the middleware, and decides the close code.
    pub(super) handler_failed: bool,
    pub(super) task: Option<Waker>,
    pub(super) waiters: Waiters,
    #[expect(clippy::box_collection, reason = "many connections are in no group: 8 bytes instead of 24")]
    pub(super) memberships: Option<Box<Vec<Membership>>>,
    pub(super) asked: Option<Box<Asked>>,
    pub(super) caller: Option<Box<Caller>>,
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

/// How far a connection's socket is. In one place, because a connection is idle for nearly all of its life, and each word counts.
#[derive(Debug)]
pub(super) enum Socket {
    /// The handshake waits for its answer, which goes here; dropping it refuses.
    Unanswered(oneshot::Sender<Response>),
    /// The handshake is over, and the task has not taken the socket yet.
    Accepted(Box<Accepted>),
    /// The task has it, and sweeps on the task's own thread may write to it.
    Shared(Arc<TcpStream>),
    /// It is on its way, the task's alone, or closed.
    Taken,
}

impl Socket {
    pub(super) fn take_respond(&mut self) -> Option<oneshot::Sender<Response>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Unanswered(respond) => Some(respond),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn take_accepted(&mut self) -> Option<Box<Accepted>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Accepted(accepted) => Some(accepted),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The socket, for a sweep.
    #[inline]
    pub(super) fn shared(&self) -> Option<&Arc<TcpStream>> {
        match self {
            Self::Shared(stream) => Some(stream),
            _ => None,
        }
    }
}

/// A socket whose handshake is over, and what was read of it behind the handshake.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(super) transport: Transport,
    pub(super) read_ahead: Bytes,
}

impl Link {
    pub(crate) fn new(settings: Arc<Settings>, respond: Option<oneshot::Sender<Response>>) -> Arc<Self> {
        static NEXT: atomic::AtomicU64 = atomic::AtomicU64::new(1);
        Arc::new(Self {
            id: ConnectionId::new(NEXT.fetch_add(1, Ordering::Relaxed)),
            watch: Watch::new(settings.meter),
            settings,
            agreed: OnceLock::new(),
            signals: Signals::default(),
            unexpected: AtomicU16::new(0),
            state: Mutex::new(State {
                phase: Phase::Handshake,
                inbox: Inbox::default(),
                outbound: Outbound::default(),
                backlog: None,
                in_flight: 0,
                is_refused: false,
                worker: worker::NOWHERE,
                socket: respond.map_or(Socket::Taken, Socket::Unanswered),
                window: Window::Fresh,
                close: None,
                handler_waits: false,
                dropped: false,
                is_enveloped: false,
                is_abandoned: false,
                is_told: false,
                is_refusing: false,
                handler_failed: false,
                task: None,
                waiters: Waiters::default(),
                memberships: None,
                asked: None,
                caller: None,
            }),
        })
    }

    #[inline]
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The route's path as it was declared, for logs.
    pub(crate) fn route(&self) -> &str {
        &self.settings.route
    }

    #[inline]
    pub(crate) fn config(&self) -> &Config {
        &self.settings.config
    }

    /// Where it is counted.
    #[inline]
    pub(super) fn log_sums(&self) -> &LogSums {
        &self.settings.log_sums
    }

    pub(crate) fn meter(&self) -> Meter {
        self.settings.meter
    }

    /// Whose word on the client's address is taken.
    pub(crate) fn proxies(&self) -> &TrustedProxies {
        &self.settings.proxies
    }

    pub(super) fn users(&self) -> Option<&Arc<Users>> {
        self.settings.users.as_ref()
    }

    pub(super) fn on_error(&self) -> Option<&OnError> {
        self.settings.on_error.as_ref()
    }

    #[inline]
    pub(super) fn role(&self) -> Role {
        self.settings.role
    }

    /// It is a client's own, which sends masked.
    pub(crate) fn is_client(&self) -> bool {
        self.role() == Role::Client
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.settings.budget
    }

    /// What waits to be received or sent, in bytes.
    pub(super) fn held(&self) -> usize {
        let state = self.lock();
        state.queued() + state.inbox.bytes()
    }

    /// What waits to be sent, in bytes.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued()
    }

    /// What the queue has room for, in bytes, and what each message takes besides its frame.
    pub(crate) fn room(&self) -> (usize, usize) {
        let state = self.lock();
        let each = if state.backlog.is_some() { Backlog::cost(0) } else { 0 };
        (self.config().outbound_queue.saturating_sub(state.must_arrive()), each)
    }

    // A panic cannot leave the state half-changed: nothing in here calls foreign code but wakers, and those after the lock.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a membership, while there may be one more; the error says why not. `enveloped`: from now on texts of groups come
    /// in envelopes.
    pub(crate) fn add_membership(&self, membership: Membership, enveloped: bool) -> Result {
        let mut state = self.lock();
        self.check_memberships_in(&state)?;
        state.is_enveloped |= enveloped;
        state.memberships.get_or_insert_default().push(membership);
        Ok(())
    }

    /// Whether it may be in one more group; the error says why not.
    pub(crate) fn check_memberships(&self) -> Result {
        self.check_memberships_in(&self.lock())
    }

    fn check_memberships_in(&self, state: &State) -> Result {
        state.check_open()?;
        let limit = self.config().groups_per_connection;
        let groups = state.memberships.as_ref().map_or(0, |memberships| memberships.len());
        if limit.allows(groups + 1) { Ok(()) } else { Err(GroupError::TooManyGroups { limit }.into()) }
    }

    /// Whether texts of groups come in envelopes.
    pub(crate) fn is_enveloped(&self) -> bool {
        self.lock().is_enveloped
    }

    pub(crate) fn remove_membership(&self, is: impl Fn(&Membership) -> bool) {
        let mut state = self.lock();
        let memberships = state.memberships.as_mut();
        let removed = memberships.and_then(|list| list.iter().position(is).map(|at| list.swap_remove(at)));
        drop(state);
        drop(removed);
    }

    /// Takes no more for sending, and leaves every group: the connection is closing.
    /// It returns whether it was ever open.
    pub(super) fn begin_closing(&self, expected: &WebSocketDisconnect) -> bool {
        expected.belongs_to(self.id);
        let mut state = self.lock();
        let was_open = !matches!(state.phase, Phase::Handshake);
        if !matches!(state.phase, Phase::Ended(_)) {
            state.phase = Phase::Closing(expected.clone());
        }
        // No group takes a closing connection: nothing is added behind this.
        let memberships = std::mem::take(&mut state.memberships);
        drop(state);
        for membership in memberships.into_iter().flat_map(|list| list.into_iter()) {
            membership.end(self.id);
        }
        was_open
    }

    #[inline]
    pub(crate) fn mask_key(&self) -> Option<MaskKey> {
        // RFC 6455 §10.3: a key that nobody can foretell, from a generator that is fit for secrets.
        (self.role() == Role::Client).then(|| MaskKey::from(rand::random::<u32>()))
    }

    /// Answers the handshake; false when the client has left, or the handler has returned without an answer.
    pub(crate) fn respond(&self, response: Response) -> bool {
        let respond = self.lock().socket.take_respond();
        respond.is_some_and(|respond| respond.send(response).is_ok())
    }

    /// Ready when there is a handshake to answer and nobody to answer: the client has left, or was told that it took too
    /// long.
    pub(super) fn poll_client_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.lock().socket {
            Socket::Unanswered(respond) => respond.poll_closed(cx),
            _ => Poll::Pending,
        }
    }

    /// The handshake is over: the socket goes to the task, and the connection is open.
    pub(crate) fn open(self: &Arc<Self>, transport: Transport, read_ahead: Bytes) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return;
        }
        state.socket = Socket::Accepted(Box::new(Accepted { transport, read_ahead }));
        state.phase = match &state.close {
            Some(request) => Phase::Closing(request.expected_end(self.id())),
            None => Phase::Open,
        };
        let waker = state.task.clone();
        drop(state);
        self.await_authentication();
        // For a `WebSocket` that was moved to another task; in its own, the task looks after each turn of the handler.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The handler has returned an error or panicked; its `WebSocket` is gone, but middleware may still act on it.
    pub(crate) fn handler_failed(&self) {
        self.lock().handler_failed = true;
    }

    // ---- wakes

    /// Whether this is the waker under which the connection's own task polls its handler.
    #[inline]
    pub(super) fn is_own(&self, waker: &Waker) -> bool {
        std::ptr::eq(waker.data(), std::ptr::from_ref(self).cast())
    }

    /// Wakes the task, which looks at the signals.
    pub(super) fn wake_task(&self) {
        let waker = self.lock().task.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The wheel calls this when a deadline has come.
    pub(super) fn deadline_passed(&self, purpose: Purpose) {
        match purpose {
            Purpose::Timer => {
                self.signals.set(TIMER);
                self.wake_task();
            }
            Purpose::Resume => self.wake_task(),
            Purpose::Message => self.close_for("message timeout", Cause::MessageTimeout),
            Purpose::Authentication => self.close_for("authentication timeout", Cause::NotAuthenticated),
            Purpose::Expiry => self.close_for("credentials expired", Cause::Expired),
            Purpose::Handler => self.abandon_handler(),
        }
    }
}

/// The waker of the handler: the task learns that it is not only the socket that has something to do.
impl ArcWake for Link {
    fn wake_by_ref(link: &Arc<Self>) {
        link.signals.set(HANDLER);
        link.wake_task();
    }
}

impl State {
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.outbound.len() + self.in_flight as usize + self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// Of what is queued, the bytes of messages that nothing gives way for.
    #[inline]
    pub(super) fn must_arrive(&self) -> usize {
        self.outbound.len() + self.in_flight as usize + self.backlog.as_ref().map_or(0, |backlog| backlog.kept())
    }

    /// Nothing overtakes what waits there; the task knows of it.
    #[cold]
    pub(super) fn push_to_backlog(&mut self, frame: &Bytes) {
        self.backlog.get_or_insert_default().push(frame.clone());
    }

    /// Moves what is queued behind `writing`: of what waits message by message, no more than fills it to `piece` bytes.
    #[inline]
    pub(super) fn move_queued(&mut self, writing: &mut Outbound, piece: usize, signals: &Signals) {
        writing.append_all(&mut self.outbound);
        signals.clear(OUTBOUND);
        if self.backlog.is_some() {
            self.move_backlog(writing, piece, signals);
        }
    }

    #[cold]
    fn move_backlog(&mut self, writing: &mut Outbound, piece: usize, signals: &Signals) {
        if let Some(backlog) = &mut self.backlog {
            backlog.move_to(writing, piece);
            if backlog.is_empty() {
                self.backlog = None;
                signals.clear(BACKLOG);
            }
        }
    }

    #[inline]
    pub(super) fn check_open(&self) -> Result {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Handshake => Err(StateError::NotAccepted.into()),
            Phase::Closing(end) | Phase::Ended(end) => Err(end.clone().into()),
        }
    }

    /// Puts a message where `receive` finds it.
    pub(super) fn deliver(&mut self, message: Message, signals: &Signals) -> Delivered {
        self.inbox.push(message);
        signals.set(INBOX);
        if std::mem::take(&mut self.handler_waits) {
            return Delivered::Handler;
        }
        match self.waiters.take_receiver() {
            Some(waker) => Delivered::Task(waker.clone()),
            None => Delivered::Inbox,
        }
    }
}

/// Who takes a message that was delivered.
#[derive(Debug)]
pub(super) enum Delivered {
    /// The connection's own handler, which is to be polled.
    Handler,
    /// Another task, which is to be woken.
    Task(Waker),
    /// Nobody waits.
    Inbox,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).field("route", &self.route()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_small() {
        assert!(size_of::<Link>() <= 224 + size_of::<Watch>(), "{}", size_of::<Link>());
    }
}
