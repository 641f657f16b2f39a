//! The input of a subscriber's connection: messages, and the state of each subscription.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexios::backplane::{Channel, Events};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::connector::Connector;
use crate::names;

/// The channels of a subscriber. It outlives the subscriber's connections.
pub(super) struct Inbox {
    connector: Arc<Connector>,
    events: Events,
    state: Mutex<State>,
    /// True if [`State::gap_notices`] must be sent before the next message.
    has_gap_notices: AtomicBool,
    /// The number of the current connection; input of others is ignored.
    connection: AtomicU64,
    /// Number of pushes received so far.
    pushes: AtomicU64,
    signal: Notify,
}

#[derive(Default)]
struct State {
    channels: HashMap<String, (Channel, Subscription)>,
    /// Channels that are subscribed again, and whose gap is not reported yet.
    gap_notices: Vec<Channel>,
    /// Channels whose subscriptions the server has ended.
    moved: Vec<Channel>,
    /// The reason for which the connection is no longer usable.
    lost: Option<String>,
    /// True while a request has no reply.
    is_requesting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscription {
    /// Not subscribed; `has_gap` if messages may have been lost until it is.
    Pending {
        has_gap: bool,
    },
    Live,
}

impl Inbox {
    pub(super) fn new(connector: Arc<Connector>, events: Events) -> Self {
        Self {
            connector,
            events,
            state: Mutex::default(),
            has_gap_notices: AtomicBool::new(false),
            connection: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
            signal: Notify::new(),
        }
    }

    /// The receiver of a new connection's pushes.
    pub(super) fn listen(self: &Arc<Self>) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let number = self.connection.fetch_add(1, Ordering::AcqRel) + 1;
        let inbox = Arc::clone(self);
        move |push| {
            // An earlier connection may still have pushes in its buffer.
            if inbox.connection.load(Ordering::Acquire) == number {
                inbox.pushes.fetch_add(1, Ordering::Relaxed);
                inbox.handle_push(push);
            }
            Ok(())
        }
    }

    /// Number of pushes received so far.
    pub(super) fn pushes(&self) -> u64 {
        self.pushes.load(Ordering::Relaxed)
    }

    /// Resets all subscriptions at the end of a connection.
    pub(super) fn disconnect(&self) {
        self.connection.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state();
        for (_, subscription) in state.channels.values_mut() {
            *subscription = Subscription::Pending { has_gap: true };
        }
        // Gaps that were not reported are reported after the next subscription.
        state.gap_notices.clear();
        state.moved.clear();
        state.lost = None;
        state.is_requesting = false;
        self.has_gap_notices.store(false, Ordering::Release);
    }

    /// Adds wanted channels, and returns those that must be subscribed to.
    pub(super) fn add(&self, channels: Vec<Channel>, has_gap: bool) -> Vec<Channel> {
        let mut state = self.state();
        let mut pending = Vec::with_capacity(channels.len());
        for channel in channels {
            let new = (channel.clone(), Subscription::Pending { has_gap });
            let (_, subscription) = state.channels.entry(channel.as_str().to_owned()).or_insert(new);
            if let Subscription::Pending { has_gap: gap } = subscription {
                *gap |= has_gap;
                pending.push(channel);
            }
        }
        pending
    }

    /// Removes channels, and returns those that must be unsubscribed from.
    pub(super) fn remove(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let mut state = self.state();
        channels.into_iter().filter(|channel| state.channels.remove(channel.as_str()).is_some()).collect()
    }

    /// All channels that are not subscribed.
    pub(super) fn pending(&self) -> Vec<Channel> {
        let state = self.state();
        let pending = state.channels.values().filter(|(_, subscription)| *subscription != Subscription::Live);
        pending.map(|(channel, _)| channel.clone()).collect()
    }

    /// Reports a gap on channels whose caller was dropped before their subscriptions were confirmed.
    pub(super) fn abandoned(&self, channels: &[Channel]) {
        let mut state = self.state();
        for channel in channels {
            match state.channels.get_mut(channel.as_str()) {
                Some((_, Subscription::Pending { has_gap })) => *has_gap = true,
                Some((_, Subscription::Live)) => state.gap_notices.push(channel.clone()),
                None => {}
            }
        }
        self.send_gap_notices(&mut state);
    }

    /// Marks the begin and the end of a request.
    pub(super) fn set_requesting(&self, is_requesting: bool) {
        let mut state = self.state();
        state.is_requesting = is_requesting;
        self.send_gap_notices(&mut state);
    }

    /// Waits until [`lost`](Self::lost) or [`moved`](Self::moved) has something to return.
    pub(super) async fn changed(&self) {
        self.signal.notified().await;
    }

    /// Takes the reason for which the connection is no longer usable.
    pub(super) fn lost(&self) -> Option<String> {
        self.state().lost.take()
    }

    /// Removes and returns the channels that no longer belong to this server.
    pub(super) fn moved(&self) -> Vec<Channel> {
        let mut state = self.state();
        let moved = std::mem::take(&mut state.moved);
        for channel in &moved {
            state.channels.remove(channel.as_str());
        }
        moved
    }

    fn handle_push(&self, PushInfo { kind, data }: PushInfo) {
        match kind {
            PushKind::Message | PushKind::SMessage => self.message(data),
            PushKind::Subscribe | PushKind::SSubscribe => self.subscribed(&data),
            PushKind::Unsubscribe | PushKind::SUnsubscribe => self.unsubscribed(&data),
            PushKind::Disconnection => self.lose("the connection has broken"),
            _ => {}
        }
    }

    fn message(&self, data: Vec<Value>) {
        if self.has_gap_notices.load(Ordering::Acquire) {
            self.send_gap_notices(&mut self.state());
        }
        let mut data = data.into_iter();
        let (Some(Value::BulkString(name)), Some(Value::BulkString(message))) = (data.next(), data.next()) else {
            return;
        };
        let channel = str::from_utf8(&name).ok().and_then(|name| self.connector.names.channel(name));
        if let (Some(channel), Some((payload, place))) = (channel, names::received(message)) {
            self.events.message(channel, payload, place);
        } else {
            tracing::debug!("a message on a channel of the app was not published by the app");
        }
    }

    fn subscribed(&self, data: &[Value]) {
        let mut state = self.state();
        let Some(name) = self.channel(data) else { return };
        let State { channels, gap_notices, .. } = &mut *state;
        let Some((channel, subscription)) = channels.get_mut(name) else { return };
        if std::mem::replace(subscription, Subscription::Live) == (Subscription::Pending { has_gap: true }) {
            gap_notices.push(channel.clone());
            self.has_gap_notices.store(true, Ordering::Release);
        }
    }

    /// Handles the end of a subscription that was not requested: its slot has moved to another server.
    fn unsubscribed(&self, data: &[Value]) {
        let mut state = self.state();
        let Some(name) = self.channel(data) else { return };
        let State { channels, moved, .. } = &mut *state;
        let Some((channel, subscription)) = channels.get_mut(name) else { return };
        *subscription = Subscription::Pending { has_gap: true };
        moved.push(channel.clone());
        if state.is_requesting {
            // The client takes this for the reply to the request.
            state.lost = Some("a slot has moved during a request".to_owned());
        }
        self.signal.notify_one();
    }

    fn lose(&self, reason: &str) {
        self.state().lost = Some(reason.to_owned());
        self.signal.notify_one();
    }

    /// Reports the gaps, under the lock, so that no message overtakes them.
    fn send_gap_notices(&self, state: &mut State) {
        if !state.gap_notices.is_empty() {
            self.events.interrupted(&state.gap_notices);
            state.gap_notices.clear();
        }
        self.has_gap_notices.store(false, Ordering::Release);
    }

    fn channel<'a>(&self, data: &'a [Value]) -> Option<&'a str> {
        match data.first()? {
            Value::BulkString(name) => self.connector.names.channel(str::from_utf8(name).ok()?),
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
