//! Which connections are a user's.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, Weak};

use nexios_proto::{CloseCode, CloseFrame, Message, Utf8Bytes};
use tokio::time::Instant;

use crate::backplane::{ConnectionAddress, NodeId};
use crate::connection::{Link, catch_up, catch_up_everywhere};
use crate::disconnect::Cause;
use crate::sender::{ConnectionId, Sender};
use crate::server::AppHandle;
use crate::sync::{Mutex, MutexGuard};

/// Users are spread over this many locks.
const SHARDS: usize = 16;

type Shard = HashMap<Arc<str>, HashMap<ConnectionId, Connection>>;

#[derive(Debug)]
struct Connection {
    link: Weak<Link>,
    /// When it became the user's.
    since: Instant,
}

/// The connections of all users of an app, from [`WebSocket::authenticate`](crate::WebSocket::authenticate) to their ends.
#[derive(Default)]
pub(crate) struct Users {
    shards: [Mutex<Shard>; SHARDS],
    /// Keyed by chance: clients may choose their names.
    hasher: RandomState,
}

/// A connection's place among those of its user; dropping it gives it up.
pub(crate) struct Listed {
    users: Arc<Users>,
    user: Arc<str>,
    id: ConnectionId,
}

impl Users {
    pub(crate) fn list(self: &Arc<Self>, user: Arc<str>, link: &Arc<Link>) -> Listed {
        let id = link.id();
        let connection = Connection { link: Arc::downgrade(link), since: Instant::now() };
        self.shard(&user).entry(Arc::clone(&user)).or_default().insert(id, connection);
        Listed { users: Arc::clone(self), user, id }
    }

    pub(crate) fn of(&self, user: &str) -> Vec<Sender> {
        self.links(user, None).into_iter().map(Sender::new).collect()
    }

    /// Asks all connections of a user to close, or those that were there at a time, and says how many it were.
    pub(crate) fn close(&self, user: &str, frame: &CloseFrame, until: Option<Instant>) -> usize {
        // What was published before arrives before.
        catch_up_everywhere();
        let links = self.links(user, until);
        links.iter().filter(|link| link.request_close(frame.clone(), Cause::Revoked)).count()
    }

    fn links(&self, user: &str, until: Option<Instant>) -> Vec<Arc<Link>> {
        let shard = self.shard(user);
        let connections = shard.get(user).into_iter().flat_map(HashMap::values);
        let of_then = connections.filter(|connection| until.is_none_or(|until| connection.since <= until));
        of_then.filter_map(|connection| connection.link.upgrade()).collect()
    }

    fn shard(&self, user: &str) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(self.hasher.hash_one(user) % SHARDS as u64).unwrap_or(0);
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AppHandle {
    /// Closes all connections of a [user](crate::auth::Identity), with the cause [`Revoked`](crate::Cause::Revoked), and says
    /// how many it were. Those that are in their handshake are closed once they are accepted. It does not wait for the
    /// peers' answers.
    ///
    /// It concerns those connections that are the user's now. So that none slips through that is being authenticated at this
    /// moment, take the right away where it is looked up, then call this.
    ///
    /// With a [backplane](crate::App::backplane) those on other nodes are closed as well, a little later; they are not counted.
    ///
    /// A reason longer than 123 bytes is cut at a character's end (RFC 6455 §5.5.1).
    ///
    /// # Panics
    ///
    /// With a code that must not stand in a Close frame (RFC 6455 §7.4).
    pub fn close_user(&self, user: &str, code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> usize {
        let code = code.into();
        assert!(code.is_sendable(), "{code:?} must not be sent");
        let frame = CloseFrame::new(code, reason);
        if let Some(node) = self.node() {
            node.close_user(user, frame.code().into(), frame.reason());
        }
        self.users().close(user, &frame, None)
    }

    /// Sends a message to all connections of a [user](crate::auth::Identity), on all nodes, and says how many these are on this
    /// one. It waits for nobody: a connection that does not keep up is treated as [`Sender::send`] does.
    ///
    /// With a [backplane](crate::App::backplane) the message goes to all nodes. For users who are written to often, a group that
    /// is named after the user goes only where they are.
    pub fn send_to_user(&self, user: &str, message: impl Into<Message>) -> usize {
        catch_up();
        let message = message.into();
        if let Some(node) = self.node() {
            node.send_to_user(user, message.clone());
        }
        let here = self.users().of(user);
        for sender in &here {
            sender.offer(message.clone());
        }
        here.len()
    }

    /// Sends a message to one connection, on whichever node. It waits for nobody, and does not tell whether the
    /// connection is still there.
    pub fn send_to_connection(&self, address: ConnectionAddress, message: impl Into<Message>) {
        catch_up();
        match self.node() {
            Some(node) if node.id() != address.node() => {
                node.send_to_connection(address.node(), address.connection().as_u64(), message.into());
            }
            None if address.node() != NodeId::new(0) => {}
            _ => {
                if let Some(sender) = self.connections().find(address.connection()) {
                    sender.offer(message.into());
                }
            }
        }
    }

    /// Where other nodes find a connection to this one ([`WebSocket::id`](crate::WebSocket::id)): it may be stored or sent to
    /// them. Without a backplane the node is always 0.
    pub fn address_of(&self, connection: ConnectionId) -> ConnectionAddress {
        let node = self.node().map_or(NodeId::new(0), |node| node.id());
        ConnectionAddress::new(node, connection)
    }

    /// The connections of a [user](crate::auth::Identity) to this node, on all their devices and pages.
    pub fn connections_of(&self, user: &str) -> Vec<Sender> {
        self.users().of(user)
    }
}

impl Listed {
    pub(crate) fn is_of(&self, user: &str) -> bool {
        *self.user == *user
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut shard = self.users.shard(&self.user);
        let Some(links) = shard.get_mut(&self.user) else { return };
        let link = links.remove(&self.id);
        let user = if links.is_empty() { shard.remove_entry(&self.user) } else { None };
        drop(shard);
        drop((link, user));
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed").field("user", &self.user).field("id", &self.id).finish_non_exhaustive()
    }
}
