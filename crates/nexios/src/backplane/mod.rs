//! Several nodes: what joins the groups of one process to those of others.
//!
//! ```text
//!   groups ──▶ node.rs ──▶ outbox.rs ──▶ dyn Backplane ──▶ engine ──▶ other nodes
//!   groups ◀── node.rs ◀── Events    ◀── dyn Backplane ◀── engine ◀── other nodes
//! ```
//!
//! An app has a backplane or not ([`App::backplane`](crate::App::backplane)); its groups look the same in both cases. The
//! crates `nexios-redis` and `nexios-nats` each have one, [`Memory`] joins apps of one process, and whoever wants another
//! engine writes a [`Backplane`].
//!
//! # Who does what
//!
//! A backplane moves bytes: it subscribes to channels, publishes to them, and keeps streams. Everything else is the same
//! for all engines and is done by the app's node: what is published while the engine is away waits in an outbox (bounded in
//! bytes), what was missed is read from the streams, doubles are recognised, presence is exchanged, nodes that are gone
//! are noticed.

mod address;
mod channel;
mod channels;
mod config;
mod deliver;
mod error;
mod events;
mod gather;
mod lost;
mod memory;
mod message;
mod node;
mod outbox;
mod peers;
mod publishing;
mod revocations;
mod run;
mod status;
mod sync;
mod telling;
mod timetable;
mod wire;

use std::pin::Pin;

pub use address::{ConnectionAddress, InvalidAddress};
pub use channel::{Channel, InvalidPrefix, NodeId, Prefix};
pub use config::BackplaneConfig;
pub use error::BackplaneError;
pub use events::Events;
pub(crate) use events::Sink;
pub(crate) use gather::Answer;
pub(crate) use lost::Loss;
#[cfg(all(test, nexios_model))]
pub(crate) use memory::{Fate, ModelNode};
pub use memory::{Memory, MemoryNode};
pub use message::{Keep, Kept, MessageId, Outgoing, Page, Place};
pub(crate) use node::{Node, NodeGuard, Ordered, Wait};
pub use status::BackplaneStatus;
pub(crate) use sync::Missed;
pub(crate) use timetable::Entered;
pub(crate) use wire::{Entry, Placed, Posted, Presence};

use crate::groups::Position;

/// A future of a [`Backplane`], in a box so that the trait can be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An engine that joins the nodes of an app, as one node sees it.
///
/// One value serves one app. All calls come from one runtime, the node's own, from [`start`](Self::start) on; tasks of the
/// backplane's are spawned there. Calls may come at the same time. The node gives each call its
/// [`timeout`](crate::BackplaneConfig::timeout) and drops the future when that is over: an implementation must survive this
/// at any `.await`, and may take it as a sign that its connection is dead.
///
/// `nexios::testing::backplane` has the checks that an implementation must pass.
///
/// # Rules
///
/// - **Channels.** [`Channel::as_str`] has no characters but `A-Z a-z 0-9 - _ =` and at most 640 bytes; with a [`Prefix`] of the
///   same kind in front, two apps on one engine never meet.
/// - **Order.** Messages of one node to one channel arrive in the order of publishing. With [`Outgoing::keep`], all nodes see
///   those of a channel in the order of their [`Place`]s.
/// - **Doubles.** After [`Unavailable`](BackplaneError::Unavailable) or a timeout the node publishes the same messages again,
///   with the same [`MessageId`]s, though the engine may have got them. A message that is to be kept must then not get
///   a second place: the numbers of one node count up, so it is enough to know the last one of each node in a channel.
///   Others need no care, the nodes recognise them.
/// - **Gaps.** A message may be lost only with a subscription that is [interrupted](Events::interrupted).
/// - **Streams.** What is kept of a channel has an epoch, drawn anew when the stream begins or begins again, and offsets that
///   grow. A stream that has lost its end (a failover) begins again.
pub trait Backplane: Send + Sync + 'static {
    /// The engine's name, for logs and metrics: `"redis"`.
    fn name(&self) -> &'static str;

    /// Begins to connect, and to connect again whenever that is necessary, after pauses with jitter. It does not wait
    /// for the engine: `events` tells when it is there.
    ///
    /// # Errors
    ///
    /// [`BackplaneError::Settings`] when it cannot ever work, as with a malformed address. The app then does not start.
    fn start(&self, node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>>;

    /// Subscribes to channels. Whatever is published to them after `Ok`, by whomever, is given to
    /// [`Events::message`]; this node's own messages may be, too.
    ///
    /// From the call on the channels are wanted, also when it fails or is dropped: after each reconnection they are
    /// subscribed to again, until [`unsubscribe`](Self::unsubscribe). Those that are wanted already are no error.
    ///
    /// # Errors
    ///
    /// [`BackplaneError::Unavailable`] when the engine has not confirmed it. [`Events::interrupted`] tells when it has.
    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>>;

    /// Ends subscriptions; messages may still come for a moment. Channels that are not wanted are no error.
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe). The channels are not wanted any more in any case.
    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>>;

    /// Publishes messages in their order, and says of each what became of it: its place, for one that is kept. In one
    /// round trip if possible. The node has one such call at a time under way with messages that are kept, and one with others,
    /// each of up to 1 MiB or one message: while an engine cannot keep anything, the others go on.
    ///
    /// For a double it is the place of the first, or `None` when that is not known any more.
    ///
    /// Of each message, [`BackplaneError::Unavailable`] stands for "perhaps, try again", and [`BackplaneError::Refused`] for
    /// "never".
    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>>;

    /// What is kept of a channel: behind a position, or all of it without one or when that cannot be
    /// ([`Page::missing`]), the oldest first. A stream that nothing was published to has a position, too.
    ///
    /// # Errors
    ///
    /// [`BackplaneError::Unavailable`].
    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        keep: Keep,
        since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>>;

    /// Ends all connections and tasks. What was published before is on its way.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
