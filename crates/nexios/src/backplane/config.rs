//! The settings that are the same for all engines.

use std::time::Duration;

/// How an app works with other nodes ([`App::backplane_config`](crate::App::backplane_config)).
///
/// | setting | default |
/// |---|---|
/// | [`timeout`](Self::timeout) | 2 s |
/// | [`outbox`](Self::outbox) | 16 MiB |
/// | [`node_ttl`](Self::node_ttl) | 20 s |
/// | [`unready`](Self::unready) | yes |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackplaneConfig {
    pub(crate) timeout: Duration,
    pub(crate) outbox: usize,
    pub(crate) node_ttl: Duration,
    pub(crate) unready: bool,
}

impl Default for BackplaneConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            outbox: 16 * 1024 * 1024,
            node_ttl: Duration::from_secs(20),
            unready: true,
        }
    }
}

impl BackplaneConfig {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the engine may take for anything that it is asked, before it counts as away. No call of a handler's
    /// waits longer than this for the engine; at least 10 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(10));
        self
    }

    /// The most bytes that wait to be published, each message with 128 more for its place. A message that finds no room
    /// reaches the members on this node, and those on others are told that they have a gap. Only while the engine is there
    /// and slow, a message to a group with a history is not taken, and its sender told with
    /// [`BackplaneError::OutboxFull`](crate::backplane::BackplaneError::OutboxFull): it would have no place.
    pub fn outbox(mut self, bytes: usize) -> Self {
        self.outbox = bytes;
        self
    }

    /// After how long a node that is not heard of counts as gone, with all its members. Nodes tell that they are there four
    /// times in this time. All nodes of an app have the same; at least 100 ms.
    pub fn node_ttl(mut self, ttl: Duration) -> Self {
        self.node_ttl = ttl.max(Duration::from_millis(100));
        self
    }

    /// Whether `/readyz` is 503 while the engine is away. Connections on this node still reach each other then.
    pub fn unready(mut self, unready: bool) -> Self {
        self.unready = unready;
        self
    }
}
