//! What happens when a peer reads more slowly than others send to it.

/// What becomes of a message that finds no room in its receiver's queue: for a connection
/// ([`Config::slow_consumer`](crate::Config::slow_consumer)), or for what one group sends to its members
/// ([`GroupConfig::slow_consumer`](crate::GroupConfig::slow_consumer)).
///
/// The bound is in bytes: [`Config::outbound_queue`](crate::Config::outbound_queue), or less by
/// [`GroupConfig::member_queue`](crate::GroupConfig::member_queue). A message that may be dropped finds room when all that waits
/// for the connection is within it. What must arrive (a handler's own messages, those of others with
/// [`Close`](Self::Close), what [`DropNewest`](Self::DropNewest) has taken) has as much for itself, so that a stream of
/// prices does not push out an order: together at most twice the bound.
///
/// The bound is asked of a socket that has refused bytes (with TLS and HTTP/2: that takes no more of them), never before: what
/// is beyond it is offered to the socket first, from the publisher's own turn where both are on one thread of
/// [`App::run`](crate::App::run). Where that cannot be done, on other threads and runtimes, with TLS and over HTTP/2, eight times the
/// bound may wait for the connection's turn, or 8 MiB if that is more, as long as
/// [`ServerConfig::buffered_bytes`](crate::ServerConfig::buffered_bytes) has room for it. [`Sender::try_send`](crate::Sender::try_send) gives a
/// message back instead, and messages that may be dropped keep to the bound there.
///
/// Whatever the choice, nobody else notices: a publisher never waits, and other members have what was sent. What was
/// dropped is counted: [`GroupStats::dropped`](crate::GroupStats::dropped).
///
/// A handler's own [`send`](crate::WebSocket::send) waits for room instead, and drops nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The connection is closed with 4430 and the cause [`SlowConsumer`](crate::Cause::SlowConsumer). The default: a
    /// client that connects again knows that it missed something, and a group with a history gives it what that was.
    #[default]
    Close,
    /// The new message is dropped: for what is worthless later, while what came first must arrive.
    DropNewest,
    /// The oldest messages of the same sender, the group or the connection's [`Sender`](crate::Sender), are dropped until
    /// there is room: for a stream of which the end matters.
    ///
    /// What the socket has taken, and what shares a buffer with it, is on its way and stays: half of the bound at most, or
    /// one larger message. A message that would find no room even then is dropped itself, and no other for it.
    DropOldest,
    /// Conflation: of messages that wait under the same key ([`Group::send_keyed`](crate::Group::send_keyed)) only the
    /// newest is kept, in its own place in the order. Beyond the bound, and for messages without a key, as
    /// [`DropOldest`](Self::DropOldest).
    Conflate,
}
