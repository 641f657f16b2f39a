//! What goes through a backplane.

use std::time::Duration;

use bytes::Bytes;

use super::{Channel, NodeId};
use crate::groups::{NotRecovered, Position};

/// Tells a message from all others of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Who published it.
    pub node: NodeId,
    /// Counts up: of two messages of a node, in whichever channels, the later one has the higher number. The first is 1.
    pub number: u64,
}

/// A message on its way out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outgoing {
    /// To whom.
    pub channel: Channel,
    /// Any bytes.
    pub payload: Bytes,
    /// Which message it is.
    pub id: MessageId,
    /// How much of the channel's stream is kept, this message included; `None` when it is not to be kept, and has no
    /// place.
    pub keep: Option<Keep>,
}

impl Outgoing {
    /// A message that is not kept.
    pub fn new(channel: Channel, id: MessageId, payload: Bytes) -> Self {
        Self { channel, payload, id, keep: None }
    }

    /// A message that is kept.
    pub fn kept(self, keep: Keep) -> Self {
        Self { keep: Some(keep), ..self }
    }
}

/// How much of a stream is kept: whichever bound is met first holds, and the oldest messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keep {
    /// The most messages.
    pub messages: usize,
    /// The most bytes of payloads.
    pub bytes: usize,
    /// How old a message may be; and for how long after the last message a stream that is not read keeps its epoch.
    pub age: Duration,
}

/// Where a message stands in its channel's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its own position.
    pub position: Position,
    /// The offset of the message before it in the same channel: 0 for the first one, or when those before are no longer
    /// kept. A subscriber that is at a lower offset has missed one; offsets themselves may have gaps.
    pub previous: u64,
}

impl Place {
    /// [`previous`](Self::previous) in an answer to [`publish`](super::Backplane::publish) of an engine that tells only
    /// subscribers which message was the one before.
    pub const UNKNOWN: u64 = u64::MAX;
}

/// A message that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its position.
    pub position: Position,
    /// How long ago it was published, by the engine's clock.
    pub age: Duration,
    /// As it was published.
    pub payload: Bytes,
}

/// What is kept of a stream, or the end of it.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where the stream ends now: the position of its newest message, kept or not.
    pub end: Position,
    /// All messages behind the position that was asked for; all that are kept, without one or with [`missing`](Self::missing).
    pub messages: Vec<Kept>,
    /// Behind this offset nothing is missing in [`messages`](Self::messages): the position that was asked for, or that of
    /// the newest message that is no longer kept (0 when all are).
    pub floor: u64,
    /// Why not all messages behind the position that was asked for are here: the epoch has changed, or some are no
    /// longer kept.
    pub missing: Option<NotRecovered>,
}
