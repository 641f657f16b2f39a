//! A node that notes what it is told.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::backplane::{
    Backplane, BackplaneError, Channel, Events, Keep, MessageId, NodeId, Outgoing, Page, Place, Sink,
};
use crate::groups::Position;

/// How long a call may take, and what is waited for. Engines that keep streams on disk may need a while for the first one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Plays an app's node: uses a [`Backplane`], and notes what it tells. For tests of backplanes.
///
/// Its methods panic when something takes longer than 15 s.
///
/// ```
/// use nexios::backplane::{Channel, Memory};
/// use nexios::testing::backplane::TestNode;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nexios::Result {
/// let engine = Memory::new();
/// let one = TestNode::start(engine.node()).await.map_err(nexios::Error::other)?;
/// let two = TestNode::start(engine.node()).await.map_err(nexios::Error::other)?;
/// let room = Channel::group("room");
/// two.subscribe(&[room.clone()]).await;
/// one.publish(&[one.message(&room, "hello")]).await;
/// assert_eq!(two.wait_for(&room, 1).await[0].payload, "hello");
/// # Ok(())
/// # }
/// ```
pub struct TestNode {
    backplane: Arc<dyn Backplane>,
    id: NodeId,
    last_number: AtomicU64,
    log: Arc<Log>,
}

/// What a node was told ([`Events`]).
#[derive(Clone, Debug)]
pub enum Happening {
    /// [`Events::connected`].
    Connected,
    /// [`Events::disconnected`], and why.
    Disconnected(String),
    /// [`Events::interrupted`], and which channels.
    Interrupted(Vec<Channel>),
    /// [`Events::message`].
    Message(Received),
}

/// A message that has come to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The channel's name.
    pub channel: String,
    /// As it was published.
    pub payload: Bytes,
    /// Where it stands, if it is kept.
    pub place: Option<Place>,
}

impl TestNode {
    /// A node with a number drawn by chance. It does not wait until the engine is reached: that is
    /// [`Happening::Connected`].
    ///
    /// # Errors
    ///
    /// What [`Backplane::start`] answers.
    pub async fn start(backplane: impl Backplane) -> Result<Self, BackplaneError> {
        Self::start_shared(Arc::new(backplane)).await
    }

    pub(super) async fn start_shared(backplane: Arc<dyn Backplane>) -> Result<Self, BackplaneError> {
        let log = Arc::new(Log::default());
        let id = NodeId::random();
        within("start", backplane.start(id, Events::new(Arc::clone(&log) as Arc<dyn Sink>))).await?;
        Ok(Self { backplane, id, last_number: AtomicU64::new(0), log })
    }

    /// Its number.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What it uses.
    pub fn backplane(&self) -> &dyn Backplane {
        &*self.backplane
    }

    // ---- what it does

    /// A message with the next number, which is not published yet.
    pub fn message(&self, channel: &Channel, payload: impl Into<Bytes>) -> Outgoing {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        Outgoing::new(channel.clone(), MessageId { node: self.id, number }, payload.into())
    }

    /// [`Backplane::subscribe`].
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn subscribe(&self, channels: &[Channel]) {
        expect("subscribe", within("subscribe", self.backplane.subscribe(channels)).await);
    }

    /// [`Backplane::unsubscribe`].
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn unsubscribe(&self, channels: &[Channel]) {
        expect("unsubscribe", within("unsubscribe", self.backplane.unsubscribe(channels)).await);
    }

    /// [`Backplane::publish`]: the places, in the order of the messages.
    ///
    /// # Panics
    ///
    /// When the engine has not taken one of them.
    pub async fn publish(&self, messages: &[Outgoing]) -> Vec<Option<Place>> {
        let answers = within("publish", self.backplane.publish(messages)).await;
        assert_eq!(answers.len(), messages.len(), "publish has one answer for each message");
        answers.into_iter().map(|answer| expect("publish", answer)).collect()
    }

    /// [`Backplane::read`].
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn read(&self, channel: &Channel, keep: Keep, since: Option<Position>) -> Page {
        expect("read", within("read", self.backplane.read(channel, keep, since)).await)
    }

    /// [`Backplane::stop`].
    pub async fn stop(&self) {
        within("stop", self.backplane.stop()).await;
    }

    // ---- what it was told

    /// All that it was told so far.
    pub fn happened(&self) -> Vec<Happening> {
        self.log.lock().clone()
    }

    /// The messages that have come to a channel so far.
    pub fn received(&self, channel: &Channel) -> Vec<Received> {
        of_channel(&self.log.lock(), channel).cloned().collect()
    }

    /// Waits until so many messages have come to a channel, and returns them.
    ///
    /// # Panics
    ///
    /// When more have come, or they do not come.
    pub async fn wait_for(&self, channel: &Channel, count: usize) -> Vec<Received> {
        let what = format!("{count} messages in {channel}");
        self.wait_for_log(&what, |log| of_channel(&log.lock(), channel).count() >= count).await;
        let received = self.received(channel);
        assert_eq!(received.len(), count, "messages in {channel}");
        received
    }

    /// Waits until what it was told is as it should be.
    ///
    /// # Panics
    ///
    /// When it does not get so; with `what`, and the last things that it was told.
    pub async fn wait_until(&self, what: &str, is_so: impl Fn(&[Happening]) -> bool) {
        let is_so = |log: &Log| {
            // A copy without the lock: whoever asks may use this node.
            let happened = log.lock().clone();
            is_so(&happened)
        };
        self.wait_for_log(what, is_so).await;
    }

    async fn wait_for_log(&self, what: &str, is_so: impl Fn(&Log) -> bool) {
        let told = async {
            loop {
                let news = self.log.news.notified();
                if is_so(&self.log) {
                    return;
                }
                news.await;
            }
        };
        if tokio::time::timeout(PATIENCE, told).await.is_err() {
            let happened = self.happened();
            let messages = happened.iter().filter(|happening| matches!(happening, Happening::Message(_))).count();
            let last: Vec<String> = happened.iter().rev().take(5).map(Happening::shown).collect();
            panic!("after {} s still not: {what} ({messages} messages in all; last: {last:?})", PATIENCE.as_secs());
        }
    }
}

impl fmt::Debug for TestNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNode")
            .field("backplane", &self.backplane.name())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Happening {
    /// Short enough for a panic.
    fn shown(&self) -> String {
        format!("{self:?}").chars().take(200).collect()
    }
}

fn of_channel<'a>(happened: &'a [Happening], channel: &'a Channel) -> impl Iterator<Item = &'a Received> {
    happened.iter().filter_map(move |happening| match happening {
        Happening::Message(received) if received.channel == channel.as_str() => Some(received),
        _ => None,
    })
}

fn expect<T>(what: &str, result: Result<T, BackplaneError>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

async fn within<T>(what: &str, call: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, call).await;
    done.unwrap_or_else(|_| panic!("{what} takes longer than {} s", PATIENCE.as_secs()))
}

#[derive(Default)]
struct Log {
    happened: Mutex<Vec<Happening>>,
    news: Notify,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Happening>> {
        self.happened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, happening: Happening) {
        self.lock().push(happening);
        self.news.notify_waiters();
    }
}

impl Sink for Log {
    fn message(&self, channel: &str, payload: Bytes, place: Option<Place>) {
        self.note(Happening::Message(Received { channel: channel.to_owned(), payload, place }));
    }

    fn connected(&self) {
        self.note(Happening::Connected);
    }

    fn disconnected(&self, reason: &str) {
        self.note(Happening::Disconnected(reason.to_owned()));
    }

    fn interrupted(&self, channels: &[Channel]) {
        self.note(Happening::Interrupted(channels.to_vec()));
    }
}
