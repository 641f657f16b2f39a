//! Limits and deadlines: everything a connection may hold, and how long it may take.

use std::time::Duration;

use nexios_proto::Limit;

use crate::close_codes::CloseCodes;
use crate::compression::Compression;
use crate::origin::Origins;
use crate::rate::{OverRate, Rate};
use crate::slow_consumer::SlowConsumer;

/// More than one connection is served by a core of today's: whoever sends more is slowed down anyway, here or by TCP.
const MESSAGES: Rate = Rate::per_second(1_000_000).burst(4_000_000);

/// What a network of 32 Gbit/s carries. What it stops is compressed data that becomes a thousand times as much.
const BYTES: Rate = Rate::per_second(4_000_000_000);

/// What one connection may hold and how long its peer may take, for an app ([`App::config`](crate::App::config)) or
/// for one route ([`WebSocketRoute::config`](crate::WebSocketRoute::config), which then stands instead of the app's).
///
/// The defaults are safe on the open internet:
///
/// | setting | default |
/// |---|---|
/// | [`message_size`](Self::message_size) | 1 MiB |
/// | [`frame_size`](Self::frame_size) | unlimited (the message's limit holds) |
/// | [`fragments`](Self::fragments) | 16,384 frames in one message |
/// | [`outbound_queue`](Self::outbound_queue) | 1 MiB |
/// | [`slow_consumer`](Self::slow_consumer) | close with 4430 |
/// | [`groups_per_connection`](Self::groups_per_connection) | 128 |
/// | [`compression`](Self::compression) | off |
/// | [`ping_interval`](Self::ping_interval) | 20 s |
/// | [`ping_timeout`](Self::ping_timeout) | 20 s |
/// | [`handshake_timeout`](Self::handshake_timeout) | 10 s |
/// | [`close_timeout`](Self::close_timeout) | 5 s |
/// | [`message_timeout`](Self::message_timeout) | 60 s |
/// | [`message_rate`](Self::message_rate) | 1,000,000/s, 4,000,000 at once |
/// | [`byte_rate`](Self::byte_rate) | 4 GB/s, 4 GB at once |
/// | [`over_rate`](Self::over_rate) | the peer waits |
/// | [`origins`](Self::origins) | the same origin, for requests with an `Origin` |
/// | [`authentication_timeout`](Self::authentication_timeout) | none |
/// | [`close_codes`](Self::close_codes) | [`CloseCodes`] has a table |
/// | [`refuse_after_accept`](Self::refuse_after_accept) | off: a refusal is an HTTP response |
/// | [`handler_timeout`](Self::handler_timeout) | 60 s |
///
/// A limit takes a number or [`Limit::Unlimited`]; zero means zero.
///
/// ```
/// use std::time::Duration;
/// use nexios::{App, Config};
///
/// let app = App::new().config(Config::new().message_size(64 * 1024).ping_interval(Duration::from_secs(5)));
/// # drop(app);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) compression: Compression,
    pub(crate) outbound_queue: usize,
    pub(crate) slow_consumer: SlowConsumer,
    pub(crate) groups_per_connection: Limit,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) message_timeout: Option<Duration>,
    pub(crate) message_rate: Option<Rate>,
    pub(crate) byte_rate: Option<Rate>,
    pub(crate) over_rate: OverRate,
    pub(crate) origins: Origins,
    pub(crate) authentication_timeout: Option<Duration>,
    pub(crate) close_codes: CloseCodes,
    pub(crate) refuse_after_accept: bool,
    pub(crate) handler_timeout: Option<Duration>,
}

/// What a message may hold: the size of a message and of a frame in bytes, and the number of frames in a message.
///
/// The same type as in `nexios-proto`, which enforces it.
pub use nexios_proto::Limits;

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            compression: Compression::off(),
            outbound_queue: 1024 * 1024,
            slow_consumer: SlowConsumer::Close,
            groups_per_connection: Limit::At(128),
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            message_timeout: Some(Duration::from_mins(1)),
            message_rate: Some(MESSAGES),
            byte_rate: Some(BYTES),
            over_rate: OverRate::Wait,
            origins: Origins::same_origin(),
            authentication_timeout: None,
            close_codes: CloseCodes::new(),
            refuse_after_accept: false,
            handler_timeout: Some(Duration::from_mins(1)),
        }
    }
}

impl Config {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the three limits on messages at once.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The largest message that is taken, in bytes, over all its frames. A larger one closes the connection with 1009
    /// as soon as a header announces it.
    pub fn message_size(mut self, bytes: impl Into<Limit>) -> Self {
        self.limits = self.limits.message_size(bytes);
        self
    }

    /// The largest single frame that is taken, in bytes. A larger one closes the connection with 1009.
    pub fn frame_size(mut self, bytes: impl Into<Limit>) -> Self {
        self.limits = self.limits.frame_size(bytes);
        self
    }

    /// How many frames one message may consist of, empty ones included. More close the connection with 1008.
    pub fn fragments(mut self, frames: impl Into<Limit>) -> Self {
        self.limits = self.limits.fragments(frames);
        self
    }

    /// Whether and how messages are compressed (RFC 7692).
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The most bytes that wait for one connection's peer to read. A handler's own `send` waits once half of it is
    /// taken; what others send to the connection (a [`Sender`](crate::Sender), a [`Group`](crate::Group)) may fill it
    /// whole, and for the message that finds no room there is [`slow_consumer`](Self::slow_consumer). Messages that may be
    /// dropped have as much for themselves: [`SlowConsumer`] tells.
    pub fn outbound_queue(mut self, bytes: usize) -> Self {
        self.outbound_queue = bytes;
        self
    }

    /// What becomes of a message from others that finds no room in the queue. A group may have it otherwise for what it
    /// sends: [`GroupConfig::slow_consumer`](crate::GroupConfig::slow_consumer). It is for an app's connections: a client's
    /// own always closes.
    pub fn slow_consumer(mut self, choice: SlowConsumer) -> Self {
        self.slow_consumer = choice;
        self
    }

    /// How many groups one connection may be in at the same time; joining one more is an error.
    pub fn groups_per_connection(mut self, groups: impl Into<Limit>) -> Self {
        self.groups_per_connection = groups.into();
        self
    }

    /// How often the peer is pinged (RFC 6455 §5.5.2), or `None` for no keepalive. The first ping comes after a half to a
    /// whole interval, so that those who connected together are not pinged together.
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into();
        self
    }

    /// How long the peer may be silent after a ping. Any byte it sends counts as its answer; without one the connection
    /// ends with the cause [`KeepaliveTimeout`](crate::Cause::KeepaliveTimeout).
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// How long the whole head of a request may take to arrive: the first one from the connection on, TLS included, a later
    /// one from its first byte on. Then it is answered with 408 (RFC 9110 §15.5.9), or within a TLS handshake cut. An app's
    /// setting, not a route's.
    ///
    /// The same time again, from the request on, is the handler's to decide in: whoever neither accepts nor refuses by then
    /// is cancelled, and the client is answered 503. A handler that asks a slow back end before `accept` needs a longer one.
    /// `Duration::MAX` is no deadline.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How long the peer may take to answer a Close frame before the connection is cut.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How long a message may take from its first frame's header to its last byte, or `None` for as long as it likes. Then the
    /// connection is closed with 4408 and the cause [`MessageTimeout`](crate::Cause::MessageTimeout). Time does not count
    /// in which the peer is not read: because its handler is busy, it sends too fast, or does not read itself.
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.message_timeout = timeout.into();
        self
    }

    /// How many messages a peer may send in a second, control frames included, or `None` for as many as the handler takes. The
    /// default, a million, is more than a connection is served by one core, so that it stands in nobody's way; a service that
    /// knows its clients sets what they need. Of all connections of an address together:
    /// [`ServerConfig::message_rate_per_address`](crate::ServerConfig::message_rate_per_address).
    ///
    /// Of a burst of 4,096 or more, one half is used up before anybody looks at a clock, and only the other one is filled up
    /// again during silence.
    pub fn message_rate(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.message_rate = rate.into();
        self
    }

    /// How many bytes a peer may send in a second, or `None` for as many as the handler takes: those that come from its socket
    /// (frames with their headers, without TLS), and where [compression](Self::compression) was agreed on besides those of the
    /// messages that its frames came to: decompressed. A compressed message counts with both once it is complete.
    pub fn byte_rate(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.byte_rate = rate.into();
        self
    }

    /// What becomes of a peer that sends more than a rate allows.
    pub fn over_rate(mut self, choice: OverRate) -> Self {
        self.over_rate = choice;
        self
    }

    /// Which web pages may connect; others are answered with 403. A route with a `Config` of its own has origins of its
    /// own, too.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// How long after `accept` somebody has to be [authenticated](crate::WebSocket::authenticate), or `None` for never. Then
    /// the connection is closed with 4401 and the cause [`NotAuthenticated`](crate::Cause::NotAuthenticated). For
    /// protocols whose first message carries the token.
    pub fn authentication_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.authentication_timeout = timeout.into();
        self
    }

    /// Close codes of endings for which RFC 6455 has none: see [`CloseCodes`].
    pub fn close_codes(mut self, codes: CloseCodes) -> Self {
        self.close_codes = codes;
        self
    }

    /// Refuses a handshake after accepting it, for clients in browsers: a page sees of a refused handshake only that there was
    /// none (1006), and of a closed connection the code and the reason.
    ///
    /// What [`reject`](crate::WebSocket::reject), a rejected extractor or a middleware answers with then becomes a 101 and a
    /// Close frame with 4000 and the response's status, 4401 for a 401; `close` before `accept` closes with its own code and
    /// reason. What is refused before middleware runs (a malformed handshake, an origin, a limit of the server) stays an HTTP
    /// response.
    pub fn refuse_after_accept(mut self, is_wanted: bool) -> Self {
        self.refuse_after_accept = is_wanted;
        self
    }

    /// How long a handler may go on after its connection has ended without taking notice, or `None` for as long as it likes.
    /// Then it is cancelled where it waits: its future is dropped.
    ///
    /// A handler notices when a call of its [`WebSocket`](crate::WebSocket) says that the connection has ended; it then has the
    /// time that it takes. This is for those that wait for something else, as one that only sends and has nothing to send.
    /// The connection's place in the limits and its membership in groups end with the socket in any case.
    pub fn handler_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.handler_timeout = timeout.into();
        self
    }

    /// Where a handler's own `send` begins to wait: at half of the queue, so that what groups send to a connection
    /// whose handler streams at the peer's pace still finds room.
    pub(crate) fn send_waits_above(&self) -> usize {
        self.outbound_queue / 2
    }
}
