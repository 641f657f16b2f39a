//! An app's side of its backplane.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use nexios_proto::Message;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SetOnce};
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::gather::Questions;
use super::outbox::{Appended, Outbox};
use super::peers::Peers;
use super::revocations::Revocations;
use super::status::{Status, Way, count};
use super::timetable::{Entered, Timetable};
use super::wire::{Body, Posted, Presence, Unsent};
use super::{Backplane, BackplaneConfig, BackplaneError, BackplaneStatus, BoxFuture, Channel, Keep, NodeId};
use crate::auth::Users;
use crate::connection::Registry;
use crate::groups::{GroupInner, GroupsInner};

/// So many streams are read at the same time.
const READS: usize = 64;

/// One app among those that its backplane joins.
pub(crate) struct Node {
    pub(super) id: NodeId,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) config: BackplaneConfig,
    pub(super) outbox: Outbox,
    pub(super) channels: Channels,
    pub(super) status: Status,
    pub(super) peers: Peers,
    pub(super) questions: Questions,
    pub(super) revocations: Revocations,
    /// Groups that have something to tell.
    pub(super) telling: Timetable,
    /// Groups whose streams are to be looked at.
    pub(super) looking: Timetable,
    pub(super) reads: Semaphore,
    pub(super) groups: Weak<GroupsInner>,
    pub(super) users: Arc<Users>,
    pub(super) connections: Arc<Registry>,
    /// Of the node's own thread.
    pub(super) runtime: OnceLock<Handle>,
    /// The engine was reached for the first time.
    pub(super) reached: SetOnce<()>,
    /// It cannot ever work, or it has begun.
    pub(super) started: SetOnce<Result<(), BackplaneError>>,
    pub(super) stopped: CancellationToken,
    /// Within which time its clients are elsewhere, when it goes in order.
    pub(super) clients_return: OnceLock<Duration>,
    /// Its last message is out.
    pub(super) left: CancellationToken,
}

/// Ends the node when the app is gone.
pub(crate) struct NodeGuard(Arc<Node>);

/// A wait for the engine that a handler is in, at most for the timeout.
pub(crate) type Wait<T> = BoxFuture<'static, T>;

/// What becomes of a message to a group with a history.
pub(crate) enum Ordered {
    /// The engine is asked for its place; members get it with that.
    ByEngine(Wait<Result<(), BackplaneError>>),
    /// The engine is away: members of this node are to get it now.
    Here,
}

impl Node {
    pub(crate) fn new(
        backplane: Arc<dyn Backplane>,
        config: BackplaneConfig,
        groups: Weak<GroupsInner>,
        users: Arc<Users>,
        connections: Arc<Registry>,
    ) -> Arc<Self> {
        let id = NodeId::random();
        Arc::new(Self {
            id,
            backplane,
            outbox: Outbox::new(id, config.outbox),
            config,
            channels: Channels::default(),
            status: Status::new(),
            peers: Peers::default(),
            questions: Questions::default(),
            revocations: Revocations::default(),
            telling: Timetable::default(),
            looking: Timetable::default(),
            reads: Semaphore::new(READS),
            groups,
            users,
            connections,
            runtime: OnceLock::new(),
            reached: SetOnce::new(),
            started: SetOnce::new(),
            stopped: CancellationToken::new(),
            clients_return: OnceLock::new(),
            left: CancellationToken::new(),
        })
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// Whether the backplane can work at all: waits until it has begun to connect.
    pub(crate) async fn started(&self) -> Result<(), BackplaneError> {
        self.started.wait().await.clone()
    }

    /// Publishes what is left, and tells the others that this node goes and its clients come back to others within this
    /// time; at most for two seconds.
    pub(crate) async fn leave(&self, clients_return: Duration) {
        // Nobody leaves twice.
        let _ = self.clients_return.set(clients_return);
        self.stopped.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.left.cancelled()).await;
    }

    pub(crate) fn status(&self) -> BackplaneStatus {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        BackplaneStatus {
            engine: self.backplane.name(),
            node: self.id,
            away: self.why_away(),
            nodes: self.peers.len(),
            published: read(&self.status.published),
            received: read(&self.status.received),
            outbox_bytes: self.outbox.bytes(),
            lost: self.outbox.lost() + read(&self.status.refused),
            gaps: read(&self.status.gaps),
            outages: self.status.outages(),
        }
    }

    /// For a readiness check.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.why_away() {
            Some(reason) if self.config.unready => Err(format!("{} is {reason}", self.backplane.name())),
            _ => Ok(()),
        }
    }

    fn why_away(&self) -> Option<String> {
        if let Some(Err(error)) = self.started.get() {
            return Some(format!("not in use: {error}"));
        }
        self.status.away()
    }

    /// Nobody would hear a question, or be heard.
    pub(super) fn is_silent(&self) -> bool {
        self.status.is_away(Way::Publishing) || self.status.is_away(Way::Subscriptions)
    }

    pub(super) fn is_away(&self, way: Way) -> bool {
        self.status.is_away(way)
    }

    // ---- what groups publish

    /// A message for the members on other nodes; those of this one have it. What finds no room is noted: the members are
    /// told.
    pub(crate) fn publish(&self, channel: &Channel, posted: Posted) {
        self.push(channel, &Body::Group(posted));
    }

    /// A message that the engine is to order.
    pub(crate) fn append(&self, channel: &Channel, posted: Posted, keep: Keep) -> Result<Ordered, BackplaneError> {
        match self.outbox.append(channel, Unsent::new(&Body::Group(posted)), keep)? {
            Appended::Away => Ok(Ordered::Here),
            Appended::Asked(done) => {
                let timeout = self.config.timeout;
                Ok(Ordered::ByEngine(Box::pin(async move {
                    match tokio::time::timeout(timeout, done).await {
                        Ok(Ok(result)) => result,
                        // It is in the outbox, and published when it can be.
                        Ok(Err(_)) | Err(_) => Ok(()),
                    }
                })))
            }
        }
    }

    pub(super) fn push(&self, channel: &Channel, body: &Body) {
        // What finds no room is counted by the outbox.
        let _ = self.outbox.push(channel, Unsent::new(body));
    }

    // ---- what apps say to each other

    /// To all connections of the other nodes.
    pub(crate) fn broadcast(&self, posted: Posted) {
        self.push(&Channel::all_nodes(), &Body::Everybody(posted));
    }

    /// To a user's connections on other nodes.
    pub(crate) fn send_to_user(&self, user: &str, message: Message) {
        self.push(&Channel::all_nodes(), &Body::User(user.into(), Posted::new(message)));
    }

    /// To one connection of another node.
    pub(crate) fn send_to_connection(&self, node: NodeId, connection: u64, message: Message) {
        self.push(&Channel::node(node), &Body::Connection(connection, Posted::new(message)));
    }

    // ---- what groups listen to

    /// A group is here, or wants its channel again.
    pub(crate) fn attach(&self, channel: &Channel, group: &Arc<GroupInner>) {
        self.channels.want_for(channel, group);
        let is_away = self.reached.get().is_some() && self.is_away(Way::Subscriptions);
        if is_away || matches!(self.started.get(), Some(Err(_))) {
            // Nobody waits for what may take long: it is wanted, and its members are told of the gap later.
            group.attached();
        }
    }

    /// The group is no longer here, and says so if others know of it.
    pub(crate) fn detach(&self, channel: &Channel, group: *const GroupInner, is_known: bool) {
        self.channels.forget(channel, group, || {
            if is_known {
                // Without room for it, the outbox knows.
                self.tell(channel, Presence::goodbye());
            }
        });
    }

    /// Nothing is to be done for it any more.
    pub(crate) fn forget_to_look(&self, entry: Entered) {
        self.looking.remove(entry);
    }

    /// Whether a message of so many bytes to so many groups would be taken.
    pub(crate) fn check_room(&self, posted: &Posted, groups: usize) -> Result<(), BackplaneError> {
        let size = Unsent::new(&Body::Group(posted.clone())).len();
        self.outbox.check_room(size.saturating_mul(groups), groups)
    }

    /// Whether a node was heard of lately.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.peers.knows(node)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Runs a task on the node's thread, once there is one.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(task);
        }
    }

    /// Whether members of this node have messages that the engine has not ordered yet: until it has, a group that went on
    /// alone does not follow it.
    pub(crate) fn is_apart(&self) -> bool {
        self.outbox.is_apart()
    }

    /// Members of this node have a message of its own, with its place.
    pub(crate) fn has_arrived(&self, number: u64) {
        self.outbox.arrived(number);
    }

    /// Members of a group were told that they may have missed something.
    pub(crate) fn count_gap(&self) {
        count(&self.status.gaps);
    }
}

impl NodeGuard {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self(node)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0
    }
}

impl Drop for NodeGuard {
    fn drop(&mut self) {
        self.0.stopped.cancel();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).field("engine", &self.backplane.name()).finish_non_exhaustive()
    }
}
