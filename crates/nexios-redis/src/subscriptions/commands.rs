//! The messages between the engine, the hub and its subscribers.

use std::sync::Arc;

use nexios::backplane::Channel;

use super::completion::Part;
use crate::address::Server;
use crate::topology::Topology;

/// The servers as the hub has discovered them.
#[derive(Clone, Debug)]
pub(crate) enum Discovery {
    /// No discovery has finished yet.
    Pending,
    /// All discoveries so far have failed, the last one for this reason.
    Failed(Arc<str>),
    /// The topology of the last successful discovery.
    Servers(Arc<Topology>),
}

/// A request to the hub, or a report of one of its tasks.
pub(crate) enum Request {
    Subscribe(Vec<Channel>, Part),
    Unsubscribe(Vec<Channel>, Part),
    /// The caller that subscribed to these channels was dropped before the confirmation.
    Abandoned(Vec<Channel>),
    /// The topology may have changed.
    Rediscover,
    /// All channels of a subscriber are subscribed.
    Up(SubscriberId),
    /// A subscriber has lost its connection, for this reason.
    Down(SubscriberId, String),
    /// Channels that belong to another server; `is_refused` when the server has refused to subscribe to some of them.
    Moved {
        subscriber: SubscriberId,
        channels: Vec<Channel>,
        is_refused: bool,
    },
    /// The result of a discovery.
    Discovered(Result<Topology, String>),
}

/// The identity of a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubscriberId {
    pub(crate) server: Server,
    /// Distinguishes the subscribers of one server.
    pub(super) index: usize,
}

/// A command of the hub to a subscriber.
pub(super) enum Command {
    /// `has_gap` when messages may have been lost before.
    Add {
        channels: Vec<Channel>,
        has_gap: bool,
        part: Option<Part>,
    },
    Remove {
        channels: Vec<Channel>,
        part: Option<Part>,
    },
    /// The caller that subscribed to these channels was dropped before the confirmation.
    Abandoned(Vec<Channel>),
}
