//! What comes in on a lane's connection: messages, and how its channels stand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexios::backplane::{Channel, Events};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::link::Link;
use crate::names;

/// A lane's channels. It outlives the lane's connections.
pub(crate) struct Inbox {
    link: Arc<Link>,
    events: Events,
    state: Mutex<State>,
    /// Whether [`State::news`] is to be told before the next message.
    has_news: AtomicBool,
    /// The number of the connection that may say something.
    connection: AtomicU64,
    /// How much has come so far.
    pushes: AtomicU64,
    signal: Notify,
}

#[derive(Default)]
struct State {
    channels: HashMap<String, (Channel, Stand)>,
    /// Channels that are subscribed to again, and it is not told yet.
    news: Vec<Channel>,
    /// Channels that the server has ended the subscriptions of.
    moved: Vec<Channel>,
    /// Why the connection cannot be used any more.
    lost: Option<String>,
    /// Whether a request is under way.
    is_asking: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Not subscribed to; with whether messages may have been lost when it is.
    Pending {
        has_gap: bool,
    },
    Live,
}

impl Inbox {
    pub(crate) fn new(link: Arc<Link>, events: Events) -> Self {
        Self {
            link,
            events,
            state: Mutex::default(),
            has_news: AtomicBool::new(false),
            connection: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
            signal: Notify::new(),
        }
    }

    /// For a new connection: what it says goes here.
    pub(crate) fn listen(self: &Arc<Self>) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let number = self.connection.fetch_add(1, Ordering::AcqRel) + 1;
        let inbox = Arc::clone(self);
        move |push| {
            // One that was given up may still have something in its buffer.
            if inbox.connection.load(Ordering::Acquire) == number {
                inbox.pushes.fetch_add(1, Ordering::Relaxed);
                inbox.push(push);
            }
            Ok(())
        }
    }

    /// A number that grows with whatever comes.
    pub(crate) fn pushes(&self) -> u64 {
        self.pushes.load(Ordering::Relaxed)
    }

    /// The connection is gone: nothing stands any more.
    pub(crate) fn disconnect(&self) {
        self.connection.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state();
        for (_, stand) in state.channels.values_mut() {
            *stand = Stand::Pending { has_gap: true };
        }
        // What was not told before is told after the next subscription.
        state.news.clear();
        state.moved.clear();
        state.lost = None;
        state.is_asking = false;
        self.has_news.store(false, Ordering::Release);
    }

    /// Adds channels to those that are wanted, and says which of them are to be subscribed to.
    pub(crate) fn add(&self, channels: Vec<Channel>, has_gap: bool) -> Vec<Channel> {
        let mut state = self.state();
        let mut pending = Vec::with_capacity(channels.len());
        for channel in channels {
            let new = (channel.clone(), Stand::Pending { has_gap });
            let (_, stand) = state.channels.entry(channel.as_str().to_owned()).or_insert(new);
            if let Stand::Pending { has_gap: gap } = stand {
                *gap |= has_gap;
                pending.push(channel);
            }
        }
        pending
    }

    /// Channels that are not wanted here any more; those that are to be unsubscribed from.
    pub(crate) fn remove(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let mut state = self.state();
        channels.into_iter().filter(|channel| state.channels.remove(channel.as_str()).is_some()).collect()
    }

    /// All channels that are not subscribed to.
    pub(crate) fn pending(&self) -> Vec<Channel> {
        let state = self.state();
        let pending = state.channels.values().filter(|(_, stand)| *stand != Stand::Live);
        pending.map(|(channel, _)| channel.clone()).collect()
    }

    /// Whoever has subscribed to these has not learned when they were.
    pub(crate) fn unanswered(&self, channels: &[Channel]) {
        let mut state = self.state();
        for channel in channels {
            match state.channels.get_mut(channel.as_str()) {
                Some((_, Stand::Pending { has_gap })) => *has_gap = true,
                Some((_, Stand::Live)) => state.news.push(channel.clone()),
                None => {}
            }
        }
        self.tell(&mut state);
    }

    /// A request is sent, or answered.
    pub(crate) fn set_asking(&self, is_asking: bool) {
        let mut state = self.state();
        state.is_asking = is_asking;
        self.tell(&mut state);
    }

    /// Waits until [`lost`](Self::lost) or [`moved`](Self::moved) has something.
    pub(crate) async fn changed(&self) {
        self.signal.notified().await;
    }

    /// Why the connection is to be given up.
    pub(crate) fn lost(&self) -> Option<String> {
        self.state().lost.take()
    }

    /// Channels that are no longer this server's. They are forgotten here.
    pub(crate) fn moved(&self) -> Vec<Channel> {
        let mut state = self.state();
        let moved = std::mem::take(&mut state.moved);
        for channel in &moved {
            state.channels.remove(channel.as_str());
        }
        moved
    }

    fn push(&self, PushInfo { kind, data }: PushInfo) {
        match kind {
            PushKind::Message | PushKind::SMessage => self.message(data),
            PushKind::Subscribe | PushKind::SSubscribe => self.confirmed(&data),
            PushKind::Unsubscribe | PushKind::SUnsubscribe => self.ended(&data),
            PushKind::Disconnection => self.lose("the connection has broken"),
            _ => {}
        }
    }

    fn message(&self, data: Vec<Value>) {
        if self.has_news.load(Ordering::Acquire) {
            self.tell(&mut self.state());
        }
        let mut data = data.into_iter();
        let (Some(Value::BulkString(name)), Some(Value::BulkString(message))) = (data.next(), data.next()) else {
            return;
        };
        let channel = str::from_utf8(&name).ok().and_then(|name| self.link.names.channel(name));
        if let (Some(channel), Some((payload, place))) = (channel, names::received(message)) {
            self.events.message(channel, payload, place);
        } else {
            tracing::debug!("something that is no message of an app has come on one of its channels");
        }
    }

    fn confirmed(&self, data: &[Value]) {
        let mut state = self.state();
        let Some(name) = self.channel(data) else { return };
        let State { channels, news, .. } = &mut *state;
        let Some((channel, stand)) = channels.get_mut(name) else { return };
        if std::mem::replace(stand, Stand::Live) == (Stand::Pending { has_gap: true }) {
            news.push(channel.clone());
            self.has_news.store(true, Ordering::Release);
        }
    }

    /// The end of a subscription that nobody has asked for: its slot has moved to another server.
    fn ended(&self, data: &[Value]) {
        let mut state = self.state();
        let Some(name) = self.channel(data) else { return };
        let State { channels, moved, .. } = &mut *state;
        let Some((channel, stand)) = channels.get_mut(name) else { return };
        *stand = Stand::Pending { has_gap: true };
        moved.push(channel.clone());
        if state.is_asking {
            // The connection takes this for the answer to the request.
            state.lost = Some("a slot has moved during a request".to_owned());
        }
        self.signal.notify_one();
    }

    fn lose(&self, reason: &str) {
        self.state().lost = Some(reason.to_owned());
        self.signal.notify_one();
    }

    /// The lock is held meanwhile, so that no message comes before it.
    fn tell(&self, state: &mut State) {
        if !state.news.is_empty() {
            self.events.interrupted(&state.news);
            state.news.clear();
        }
        self.has_news.store(false, Ordering::Release);
    }

    fn channel<'a>(&self, data: &'a [Value]) -> Option<&'a str> {
        match data.first()? {
            Value::BulkString(name) => self.link.names.channel(str::from_utf8(name).ok()?),
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
