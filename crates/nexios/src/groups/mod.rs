//! Groups (rooms): connections that are sent to together, what was said there, and who is there.
//!
//! ```text
//!   group.rs ─▶ names.rs ─▶ inner.rs: one group ─▶ members.rs: everything under its lock
//!   join.rs, publish.rs, several.rs                  ├─ batch.rs     what is distributed at the end of the tick
//!                                                    ├─ history.rs   what was published, by position.rs
//!                                                    ├─ presence.rs  who is there
//!                                                    └─ stats.rs     counts
//! ```
//!
//! `config.rs`, `policy.rs` and `hooks.rs` are the application's side; `deadlines.rs` and `room.rs` let go of what is old.

mod batch;
mod catching_up;
mod config;
mod crowd;
mod deadlines;
mod draft;
mod elsewhere;
mod envelope;
mod error;
mod gap;
mod group;
mod history;
mod hooks;
mod inner;
mod join;
mod members;
#[cfg(all(test, nexios_model))]
mod model;
mod names;
mod policy;
mod position;
mod presence;
mod publish;
mod publishers;
mod reached;
mod remote;
mod room;
mod seal;
mod several;
mod stats;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{ConnectInfo, FromRequestParts};
pub use config::{GroupConfig, GroupsConfig};
use deadlines::Deadlines;
pub use error::GroupError;
pub use gap::GapEvent;
pub use group::Group;
use history::STREAM;
pub use history::{History, HistoryPage, NotRecovered, Published};
pub use hooks::MemberEvent;
use http::StatusCode;
use http::request::Parts;
pub(crate) use inner::GroupInner;
pub use join::{Join, Joined};
pub(crate) use members::Membership;
use names::Names;
use nexios_proto::Message;
pub use policy::{Asker, GroupAction, GroupPolicy};
pub use position::{InvalidPosition, Position};
pub use presence::Present;
use publishers::Publishers;
use reached::Reached;
use remote::Remote;
use stats::Past;
pub use stats::{GroupStats, GroupsStats};

use crate::auth::Users;
use crate::backplane::{Backplane, BackplaneConfig, Entry, Node, NodeGuard};
use crate::connection::{Registry, catch_up};
use crate::disconnect::WebSocketDisconnect;
use crate::memory_budget::{Budget, Share, Taken};
use crate::sender::ConnectionId;
use crate::server::{AppHandle, WeakHandle};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// All groups of an app, from [`App::groups`](crate::App::groups), [`WebSocket::groups`](crate::WebSocket::groups), or
/// as an argument of a handler.
///
/// A group exists while it has members, or a history, and costs nothing otherwise. Its name is any text of 1 to 200 bytes
/// and is never interpreted. What groups may hold and who may do what is set with
/// [`App::groups_config`](crate::App::groups_config).
///
/// ```
/// # use nexios::prelude::*;
/// async fn chat(mut websocket: WebSocket, Path(room): Path<String>, groups: Groups) -> nexios::Result {
///     websocket.accept().await?;
///     let room = groups.group(&room);
///     room.join(&websocket).await?;
///     loop {
///         let text = websocket.receive_text().await?;
///         room.send_text(text).await?;
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Groups {
    handle: Arc<Handle>,
}

/// What a handle is, in one pointer: all connections have one.
struct Handle {
    inner: Arc<GroupsInner>,
    /// Whose it is, if there is a policy to ask: the app's own has none.
    connection: Option<ConnectionId>,
    asker: Option<Asker>,
}

pub(crate) struct GroupsInner {
    config: GroupsConfig,
    names: Names,
    deadlines: Deadlines,
    /// What the histories take, in bytes.
    histories: AtomicUsize,
    publishers: Arc<Publishers>,
    past: Past,
    reached: Reached,
    /// What groups, members and what they tell take of the app's memory budget.
    memory: Share,
    /// Every connection of the app.
    connections: Arc<Registry>,
    /// The server goes down.
    sealed: OnceLock<WebSocketDisconnect>,
    /// What joins them to those of other nodes.
    node: OnceLock<NodeGuard>,
    /// Of the app that is built.
    handle: OnceLock<WeakHandle>,
}

impl Groups {
    pub(crate) fn new(connections: Arc<Registry>, config: GroupsConfig) -> Self {
        let inner = GroupsInner {
            config,
            names: Names::new(),
            deadlines: Deadlines::default(),
            histories: AtomicUsize::new(0),
            publishers: Arc::default(),
            past: Past::default(),
            reached: Reached::default(),
            memory: Share::default(),
            connections,
            sealed: OnceLock::new(),
            node: OnceLock::new(),
            handle: OnceLock::new(),
        };
        Self { handle: Arc::new(Handle { inner: Arc::new(inner), connection: None, asker: None }) }
    }

    /// Other settings, unless somebody has a handle.
    pub(crate) fn configure(&mut self, config: GroupsConfig) -> bool {
        let unused = Arc::get_mut(&mut self.handle).and_then(|handle| Arc::get_mut(&mut handle.inner));
        unused.map(|inner| inner.config = config).is_some()
    }

    /// From now on what they hold is counted there.
    pub(crate) fn account_to(&self, budget: &Arc<Budget>) {
        self.inner().memory.account_to(budget);
    }

    /// The app is built.
    pub(crate) fn belong_to(&self, handle: &AppHandle) {
        // Nobody builds an app twice.
        let _ = self.inner().handle.set(handle.downgrade());
    }

    /// The app's, until it is gone.
    pub(crate) fn app(&self) -> Option<AppHandle> {
        self.inner().handle.get()?.upgrade()
    }

    /// From now on they are joined to those of other nodes.
    pub(crate) fn join_nodes(
        &self,
        backplane: Arc<dyn Backplane>,
        config: BackplaneConfig,
        users: Arc<Users>,
    ) -> Arc<Node> {
        let inner = self.inner();
        let connections = Arc::clone(&inner.connections);
        let new = || NodeGuard::new(Node::new(backplane, config, Arc::downgrade(inner), users, connections));
        let node = Arc::clone(inner.node.get_or_init(new).node());
        // What was published before has no members yet.
        for group in inner.names.release_all() {
            group.hand_over(&node);
        }
        node
    }

    /// The group of this name. It need not exist: it comes into being with its first member. A name that is empty or
    /// too long makes the group's operations fail.
    pub fn group(&self, name: impl AsRef<str>) -> Group {
        Group::new(self.clone(), name.as_ref().into())
    }

    /// How many groups there are: with members, or with a history.
    pub fn len(&self) -> usize {
        self.inner().names.len()
    }

    /// True when there is no group.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn inner(&self) -> &Arc<GroupsInner> {
        &self.handle.inner
    }

    /// For whom it acts.
    fn asker(&self) -> Option<&Asker> {
        self.handle.asker.as_ref()
    }

    /// The handle that lies beside a connection's request.
    pub(crate) fn of_connection(&self, connection: ConnectionId) -> Self {
        if self.has_policy() { self.with(connection, None) } else { self.clone() }
    }

    /// A handle that acts for a connection, if there is a policy to ask.
    pub(crate) fn acting_for(&self, asker: impl FnOnce() -> Asker) -> Self {
        if !self.has_policy() {
            return self.clone();
        }
        let asker = asker();
        self.with(asker.connection(), Some(asker))
    }

    fn with(&self, connection: ConnectionId, asker: Option<Asker>) -> Self {
        let inner = Arc::clone(self.inner());
        Self { handle: Arc::new(Handle { inner, connection: Some(connection), asker }) }
    }

    fn has_policy(&self) -> bool {
        self.inner().config.policy.is_some()
    }
}

impl GroupsInner {
    fn create(self: &Arc<Self>, name: &Arc<str>, cost: Taken<'_>) -> Arc<GroupInner> {
        cost.take();
        let config = self.config.of(name);
        if config.history.is_some() {
            self.histories.fetch_add(STREAM, Ordering::Relaxed);
        }
        let remote = self.node().map(|_| Box::new(Remote::new(name)));
        Arc::new(GroupInner::new(Arc::downgrade(self), Arc::clone(name), config, remote))
    }

    /// The app's side of its backplane, if it has one.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.get().map(NodeGuard::node)
    }

    /// A message of another node's, to every connection.
    pub(crate) fn deliver_to_all(&self, message: &Message, is_json: bool) {
        catch_up();
        self.send_to_all(message, is_json);
    }

    /// For another node that asks.
    pub(crate) fn who_is_here(&self, group: &str, most: (usize, usize)) -> (usize, Vec<Entry>) {
        self.names.find(group).map(|group| group.who_is_here(most)).unwrap_or_default()
    }

    /// A history has grown or shrunk; returns what all take.
    fn count_history(&self, grown: isize) -> usize {
        let by = grown.unsigned_abs();
        if grown < 0 {
            self.histories.fetch_sub(by, Ordering::Relaxed).saturating_sub(by)
        } else {
            self.histories.fetch_add(by, Ordering::Relaxed) + by
        }
    }

    /// Has the oldest go when the histories take nearly all that they may.
    fn check_room(self: &Arc<Self>, total: usize) {
        if total > self.config.histories / 8 * 7 {
            self.deadlines.crowded(self);
        }
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Groups {
    type Rejection = StatusCode;

    /// The groups of the app that serves the request: for the connection in a handler of a WebSocket route, for the app
    /// itself in those of [`App::http`](crate::App::http). Outside of a Nexios app there are none (500).
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        let groups = parts.extensions.get::<Self>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        let Some(connection) = groups.handle.connection else { return Ok(groups) };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        Ok(groups.acting_for(|| Asker::new(connection, peer, parts.extensions.clone())))
    }
}
