//! What a backplane tells its node.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Channel, Place};

/// Where a [`Backplane`](super::Backplane) reports to. Nothing here waits, and all of it may be called from any task of the
/// node's runtime.
#[derive(Clone)]
pub struct Events(Arc<dyn Sink>);

/// Who is reported to: a node, or a test.
pub(crate) trait Sink: Send + Sync {
    fn message(&self, channel: &str, payload: Bytes, place: Option<Place>);
    fn connected(&self);
    fn disconnected(&self, reason: &str);
    fn interrupted(&self, channels: &[Channel]);
}

impl Events {
    pub(crate) fn new(sink: Arc<dyn Sink>) -> Self {
        Self(sink)
    }

    /// A message has come to a channel of this name ([`Channel::as_str`], without the prefix), with its place if it is kept.
    /// For each channel in the engine's order.
    pub fn message(&self, channel: &str, payload: Bytes, place: Option<Place>) {
        self.0.message(channel, payload, place);
    }

    /// The engine is reached and all wanted channels are subscribed to: for the first time, or again.
    pub fn connected(&self) {
        self.0.connected();
    }

    /// The engine is not reached any more, or not all subscriptions stand; `reason` is for the operator. May be told more
    /// than once.
    pub fn disconnected(&self, reason: &str) {
        self.0.disconnected(reason);
    }

    /// These channels are subscribed to again, and messages may have been lost since their subscriptions broke. To be called
    /// before a message of the new subscription.
    pub fn interrupted(&self, channels: &[Channel]) {
        self.0.interrupted(channels);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
