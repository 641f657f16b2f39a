//! Groups (rooms): connections that are sent to together.

mod batch;
mod group;
mod members;
mod several;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::extract::FromRequestParts;
pub use group::Group;
use group::GroupInner;
use http::StatusCode;
use http::request::Parts;
pub(crate) use members::Membership;
use nexios_proto::Limit;

use crate::connection::Registry;

/// Names of groups are spread over this many locks.
const SHARDS: usize = 64;

/// The longest name of a group, in bytes.
pub const MAX_NAME: usize = 200;

/// All groups of an app, from [`App::groups`](crate::App::groups), [`WebSocket::groups`](crate::WebSocket::groups), or
/// as an argument of a handler.
///
/// A group exists while it has members and costs nothing otherwise. Its name is any text of 1 to 200 bytes and is never
/// interpreted.
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
    inner: Arc<GroupsInner>,
}

pub(crate) struct GroupsInner {
    /// Clients choose the names: a hash with a random key, so that nobody can make them collide.
    hasher: RandomState,
    /// Every connection of the app.
    connections: Arc<Registry>,
    shards: [Mutex<Names>; SHARDS],
}

type Names = HashMap<Arc<str>, Weak<GroupInner>>;

/// Why a group did not take a member, a name or a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A name is empty or longer than 200 bytes.
    #[error("a group's name has 1 to {MAX_NAME} bytes, not {len}")]
    InvalidName {
        /// The name's length in bytes.
        len: usize,
    },
    /// The connection is in as many groups as it may be.
    #[error("the connection is in as many groups as it may be ({limit:?})")]
    TooManyGroups {
        /// The limit of [`Config::groups_per_connection`](crate::Config::groups_per_connection).
        limit: Limit,
    },
}

impl Groups {
    pub(crate) fn new(connections: Arc<Registry>) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { inner: Arc::new(GroupsInner { hasher: RandomState::new(), connections, shards }) }
    }

    /// The group of this name. It need not exist: it comes into being with its first member. A name that is empty or
    /// longer than [`MAX_NAME`] makes the group's operations fail.
    pub fn group(&self, name: impl AsRef<str>) -> Group {
        Group::new(Arc::clone(&self.inner), name.as_ref().into())
    }

    /// How many groups have members.
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// True when no group has a member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl GroupsInner {
    fn shard(&self, name: &str) -> MutexGuard<'_, Names> {
        let hash = self.hasher.hash_one(name);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)])
    }

    /// The group, if it has members.
    fn find(&self, name: &str) -> Option<Arc<GroupInner>> {
        self.shard(name).get(name).and_then(Weak::upgrade)
    }

    fn find_or_create(self: &Arc<Self>, name: &Arc<str>) -> Arc<GroupInner> {
        let mut names = self.shard(name);
        if let Some(group) = names.get(name).and_then(Weak::upgrade) {
            return group;
        }
        let group = Arc::new(GroupInner::new(Arc::downgrade(self), Arc::clone(name)));
        names.insert(Arc::clone(name), Arc::downgrade(&group));
        group
    }

    /// The last member of a group is gone. Another one may have made it anew meanwhile: that one stays.
    fn forget(&self, name: &str) {
        let mut names = self.shard(name);
        if names.get(name).is_some_and(|group| group.strong_count() == 0) {
            names.remove(name);
        }
    }
}

fn lock(shard: &Mutex<Names>) -> MutexGuard<'_, Names> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Groups {
    type Rejection = StatusCode;

    /// The groups of the app that serves the request; outside of a Nexios app there are none (500).
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
