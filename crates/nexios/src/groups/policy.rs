//! Who may do what in a group.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;

use super::GroupError;
use crate::sender::ConnectionId;

/// Who may join, publish, and see who is there and what was said
/// ([`GroupsConfig::policy`](crate::GroupsConfig::policy)).
///
/// It is asked on each call, not once when a connection begins: a right that was taken away has no effect from the next
/// call on. It must answer from memory: a check that has to wait belongs into the handler. All of it is allowed unless a
/// method says otherwise.
///
/// It is asked for what a connection does: [`join`](crate::Group::join) with a `WebSocket`, and everything through
/// [`WebSocket::groups`](crate::WebSocket::groups) or the extractor [`Groups`](crate::Groups). What the app itself does,
/// through [`App::groups`](crate::App::groups), is always allowed.
///
/// ```
/// use nexios::{App, Asker, GroupPolicy, GroupsConfig};
///
/// #[derive(Clone)]
/// struct User { name: String, is_admin: bool }
///
/// struct Rules;
///
/// impl GroupPolicy for Rules {
///     fn may_join(&self, asker: &Asker, group: &str) -> bool {
///         // What an authentication middleware has put beside the request.
///         asker.get::<User>().is_some_and(|user| group.strip_prefix("user/").is_none_or(|name| name == user.name))
///     }
///
///     fn may_publish(&self, asker: &Asker, group: &str) -> bool {
///         group != "announcements" || asker.get::<User>().is_some_and(|user| user.is_admin)
///     }
/// }
///
/// let app = App::new().groups_config(GroupsConfig::new().policy(Rules));
/// # drop(app);
/// ```
pub trait GroupPolicy: Send + Sync + 'static {
    /// Whether it may be a member.
    fn may_join(&self, asker: &Asker, group: &str) -> bool {
        let _ = (asker, group);
        true
    }

    /// Whether it may send to the members.
    fn may_publish(&self, asker: &Asker, group: &str) -> bool {
        let _ = (asker, group);
        true
    }

    /// Whether it may send to every connection of the app ([`Groups::broadcast`](crate::Groups::broadcast)).
    fn may_broadcast(&self, asker: &Asker) -> bool {
        let _ = asker;
        true
    }

    /// Whether it may see who is in the group: [`presence`](crate::Group::presence), [`members`](crate::Group::members),
    /// [`member`](crate::Group::member), [`len`](crate::Group::len), [`stats`](crate::Group::stats) and the notices of
    /// [`Join::notices`](crate::Join::notices). The totals of [`Groups`](crate::Groups) are nobody's.
    fn may_see_presence(&self, asker: &Asker, group: &str) -> bool {
        let _ = (asker, group);
        true
    }

    /// Whether it may see what was published before: [`history`](crate::Group::history), and joining with a
    /// [`Position`](crate::Position).
    fn may_see_history(&self, asker: &Asker, group: &str) -> bool {
        let _ = (asker, group);
        true
    }
}

/// The connection for which something is asked for.
#[derive(Clone)]
pub struct Asker {
    connection: ConnectionId,
    peer: Option<SocketAddr>,
    extensions: Extensions,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupAction {
    /// To be a member.
    Join,
    /// To send to the members.
    Publish,
    /// To send to everybody.
    Broadcast,
    /// To see who is there.
    SeePresence,
    /// To see what was said before.
    SeeHistory,
}

impl Asker {
    pub(crate) fn new(connection: ConnectionId, peer: Option<SocketAddr>, extensions: Extensions) -> Self {
        Self { connection, peer, extensions }
    }

    /// The connection's number.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The address at the other end of the socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What layers and middleware have put beside the request, as [`WebSocket::extensions`](crate::WebSocket::extensions)
    /// had it when the [`Groups`](crate::Groups) were taken, or now for a join.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.get()
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl fmt::Display for GroupAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "joining the group",
            Self::Publish => "publishing to the group",
            Self::Broadcast => "sending to all connections",
            Self::SeePresence => "seeing who is in the group",
            Self::SeeHistory => "seeing what was published to the group",
        })
    }
}

/// Asks the policy, if there is one and it is a connection that acts.
pub(super) fn check(
    policy: Option<&Arc<dyn GroupPolicy>>,
    asker: Option<&Asker>,
    action: GroupAction,
    group: &str,
) -> Result<(), GroupError> {
    let (Some(policy), Some(asker)) = (policy, asker) else { return Ok(()) };
    let allowed = match action {
        GroupAction::Join => policy.may_join(asker, group),
        GroupAction::Publish => policy.may_publish(asker, group),
        GroupAction::Broadcast => policy.may_broadcast(asker),
        GroupAction::SeePresence => policy.may_see_presence(asker, group),
        GroupAction::SeeHistory => policy.may_see_history(asker, group),
    };
    if allowed { Ok(()) } else { Err(GroupError::Forbidden { action }) }
}
