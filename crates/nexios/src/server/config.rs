//! What a server as a whole may hold: connections, heads of requests, memory; and how it goes down.

use std::time::Duration;

use nexios_proto::{CloseCode, Limit};

use super::data_rate::MinDataRate;
use super::memory;
use super::proxies::{ProxyHeader, TrustedProxies};
use crate::host::AllowedHosts;
use crate::rate::Rate;

/// For a machine that does not tell how much memory there is.
const BUFFERED: usize = 512 * 1024 * 1024;

/// Limits on a server and all its connections together: [`App::server_config`](crate::App::server_config). What one
/// connection may do is [`Config`](crate::Config).
///
/// | setting | default | over it |
/// |---|---|---|
/// | [`connections`](Self::connections) | 65,536 | 503 |
/// | [`connections_per_address`](Self::connections_per_address) | 1,024, loopback unlimited | 429 |
/// | [`accept_rate`](Self::accept_rate) | none | 503 |
/// | [`handshake_rate_per_address`](Self::handshake_rate_per_address) | 100/s, 1,024 at once, loopback unlimited | 429 |
/// | [`refusal_rate_per_address`](Self::refusal_rate_per_address) | 50/s, 1,024 at once, loopback unlimited | 429 |
/// | [`message_rate_per_address`](Self::message_rate_per_address) | none | [`over_rate`](crate::Config::over_rate) |
/// | [`head_size`](Self::head_size) | 16 KiB | 431 |
/// | [`head_lines`](Self::head_lines) | 100 | 431 |
/// | [`buffered_bytes`](Self::buffered_bytes) | a quarter of the memory that the process may use | 503, 1013 |
/// | [`drain_deadline`](Self::drain_deadline) | 10 s | handlers are left behind |
/// | [`drain_code`](Self::drain_code) | 1001 | |
/// | [`drain_delay`](Self::drain_delay) | 0 s | |
/// | [`reconnect_within`](Self::reconnect_within) | 5 s | |
/// | [`reuse_port`](Self::reuse_port) | off | |
/// | [`trusted_proxies`](Self::trusted_proxies) | none | |
/// | [`proxy_header`](Self::proxy_header) | `X-Forwarded-For` | |
/// | [`min_request_rate`](Self::min_request_rate) | 240 bytes/s after 5 s | 408 |
/// | [`min_response_rate`](Self::min_response_rate) | 240 bytes/s after 5 s | cut, over HTTP/2 `RST_STREAM` |
/// | [`keep_alive`](Self::keep_alive) | 60 s | closed |
///
/// The deadline for a request's head is [`Config::handshake_timeout`](crate::Config::handshake_timeout) (10 s, then 408).
///
/// ```
/// use nexios::{App, Rate, ServerConfig};
///
/// let server = ServerConfig::new().connections(10_000).accept_rate(Rate::per_second(500).burst(2_000));
/// # drop(App::new().server_config(server));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub(crate) connections: Limit,
    pub(crate) connections_per_address: Option<Limit>,
    pub(crate) accept_rate: Option<Rate>,
    pub(crate) head_size: usize,
    pub(crate) head_lines: usize,
    pub(crate) buffered_bytes: Option<Limit>,
    #[expect(clippy::option_option, reason = "not set, no limit, or a rate")]
    pub(crate) handshake_rate_per_address: Option<Option<Rate>>,
    #[expect(clippy::option_option, reason = "not set, no limit, or a rate")]
    pub(crate) refusal_rate_per_address: Option<Option<Rate>>,
    pub(crate) message_rate_per_address: Option<Rate>,
    pub(crate) hosts: Option<AllowedHosts>,
    pub(crate) drain_deadline: Duration,
    pub(crate) drain_code: CloseCode,
    pub(crate) drain_delay: Duration,
    pub(crate) reconnect_within: Duration,
    pub(crate) reuse_port: bool,
    pub(crate) proxies: TrustedProxies,
    pub(crate) min_request_rate: Option<MinDataRate>,
    pub(crate) min_response_rate: Option<MinDataRate>,
    pub(crate) keep_alive: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections: Limit::At(65_536),
            connections_per_address: None,
            accept_rate: None,
            head_size: 16 * 1024,
            head_lines: 100,
            buffered_bytes: None,
            handshake_rate_per_address: None,
            refusal_rate_per_address: None,
            message_rate_per_address: None,
            hosts: None,
            drain_deadline: Duration::from_secs(10),
            drain_code: CloseCode::GOING_AWAY,
            drain_delay: Duration::ZERO,
            reconnect_within: Duration::from_secs(5),
            reuse_port: false,
            proxies: TrustedProxies::default(),
            min_request_rate: Some(MinDataRate::per_second(240)),
            min_response_rate: Some(MinDataRate::per_second(240)),
            keep_alive: Duration::from_mins(1),
        }
    }
}

impl ServerConfig {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections there may be, WebSocket or plain HTTP. One more is answered with 503 and `Retry-After`. Sixteen
    /// more are taken for plain HTTP only, so that a full server still answers health checks.
    pub fn connections(mut self, n: impl Into<Limit>) -> Self {
        self.connections = n.into();
        self
    }

    /// How many connections one address may have: an IPv4 address, or the 64 bits of an IPv6 address that stand for one
    /// subscriber. One more is answered with 429. Without this setting loopback has no limit: what comes from there is a
    /// proxy of this machine.
    pub fn connections_per_address(mut self, n: impl Into<Limit>) -> Self {
        self.connections_per_address = Some(n.into());
        self
    }

    /// How many connections are taken in a second; those above it are answered with 503 and `Retry-After`. `None`: as many
    /// as come.
    pub fn accept_rate(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.accept_rate = rate.into();
        self
    }

    /// The most bytes that the head of a request may take, from 8 KiB on, over HTTP/2 the list of headers unpacked. More are
    /// answered with 431.
    pub fn head_size(mut self, bytes: usize) -> Self {
        self.head_size = bytes.max(8 * 1024);
        self
    }

    /// The most header lines that a request may have. More are answered with 431.
    pub fn head_lines(mut self, lines: usize) -> Self {
        self.head_lines = lines;
        self
    }

    /// The most bytes that are held for all connections together: what they have begun to send, what their handlers have
    /// not taken yet, and what they do not read; heads of requests above 1 KiB, complete or not; bodies that came over
    /// HTTP/2 and are not read. Above it, a request whose head has no room is answered with 503 and `Retry-After`, and a
    /// connection that holds more than the average of those that hold anything is closed with 1013 and the cause
    /// [`Overloaded`](crate::Cause::Overloaded), or as HTTP/2 with `ENHANCE_YOUR_CALM`. As much as half of it, besides,
    /// may be compressors of connections' own ([`Compression::dedicated`](crate::Compression::dedicated), about 370 KiB
    /// each): those beyond share one.
    pub fn buffered_bytes(mut self, bytes: impl Into<Limit>) -> Self {
        self.buffered_bytes = Some(bytes.into());
        self
    }

    /// How many opening handshakes the clients of one address may begin in a second; more are answered with 429 and
    /// `Retry-After`. An address is what it is for [`connections_per_address`](Self::connections_per_address): IPv4, or the
    /// 64 bits of an IPv6 address that stand for one subscriber; behind a [trusted proxy](Self::trusted_proxies) it is the
    /// client's. `None`: as many as come. Without this setting loopback has no limit. 32,768 addresses are remembered.
    pub fn handshake_rate_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.handshake_rate_per_address = Some(rate.into());
        self
    }

    /// How many requests of one address may be refused in a second for what they say: a malformed handshake, a host or an
    /// origin that is not allowed, credentials that the app does not take (any 4xx to a handshake). Whoever is refused more often
    /// is answered with 429 and `Retry-After` before anything of a request is read, and so are those who share the address.
    /// `None`: as often as it likes. Without this setting loopback has no limit.
    pub fn refusal_rate_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.refusal_rate_per_address = Some(rate.into());
        self
    }

    /// How many messages the clients of one address may send over all their connections, pings included, or `None` for as
    /// many as their handlers take: [`Config::message_rate`](crate::Config::message_rate) is for each connection. It costs a
    /// lock for each message. What becomes of those who send more is their routes'
    /// [`Config::over_rate`](crate::Config::over_rate).
    pub fn message_rate_per_address(mut self, rate: impl Into<Option<Rate>>) -> Self {
        self.message_rate_per_address = rate.into();
        self
    }

    /// How long a shutdown waits for connections and their handlers, the delay included.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// The code that connections are closed with: 1001 (going away), or 1012 (service restart).
    ///
    /// # Panics
    ///
    /// With a code that must not stand in a Close frame (RFC 6455 §7.4).
    pub fn drain_code(mut self, code: impl Into<CloseCode>) -> Self {
        self.drain_code = code.into();
        assert!(self.drain_code.is_sendable(), "{:?} must not be sent", self.drain_code);
        self
    }

    /// How long a server that is to go down still takes connections: as long as a load balancer needs to see that it is
    /// not ready any more.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// Over what time the clients of a server that goes down are to come back: each is told a moment of its own in the
    /// reason of its Close frame, as `reconnect in 1234 ms`.
    pub fn reconnect_within(mut self, time: Duration) -> Self {
        self.reconnect_within = time;
        self
    }

    /// Lets a second process listen on the same port (`SO_REUSEPORT`), so that a new version takes over from an old one
    /// without a moment in which nobody listens. Both have to ask for it.
    ///
    /// On Linux, set `net.ipv4.tcp_migrate_req = 1` as well (since 5.14): else a connection that comes between the old
    /// process's last accept and its end is reset, of 1,000 a second about one in 65 takeovers.
    pub fn reuse_port(mut self, yes: bool) -> Self {
        self.reuse_port = yes;
        self
    }

    pub(crate) fn buffered(&self) -> Limit {
        self.buffered_bytes.unwrap_or_else(|| memory::limit().map_or(Limit::At(BUFFERED), |bytes| Limit::At(bytes / 4)))
    }

    /// The proxies in front of the server, as addresses (`::1`) and networks (`10.0.0.0/8`): what they say of their
    /// clients is believed, by [`WebSocket::client_ip`](crate::WebSocket::client_ip), [`ClientIp`](crate::ClientIp), the limit
    /// on connections of one address, and [`Origins::same_origin`](crate::Origins::same_origin). What others say is
    /// ignored. Without this setting nobody is believed, and the first forwarding header of a peer that is not trusted is
    /// logged. IPv4 may be written as such or as IPv6 shows it (`::ffff:10.0.0.1`).
    ///
    /// With this setting a server on loopback answers to every host, see [`App::hosts`](crate::App::hosts).
    ///
    /// # Panics
    ///
    /// When an entry is neither an address nor a network.
    pub fn trusted_proxies<I>(mut self, entries: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let networks = TrustedProxies::parse(entries);
        assert!(
            networks.is_ok(),
            "{:?} is neither an address nor a network",
            networks.as_ref().err().map_or("", String::as_str)
        );
        self.proxies = TrustedProxies::new(networks.unwrap_or_default(), self.proxies.header());
        self
    }

    /// Which header tells the trusted proxies' clients. The other one is not read.
    pub fn proxy_header(mut self, header: ProxyHeader) -> Self {
        self.proxies = TrustedProxies::new(self.proxies.networks().to_vec(), header);
        self
    }

    /// Least rate at which the body of a request has to come while the application reads it, over HTTP/1.1 and HTTP/2.
    /// Below it, whoever reads the body gets an error, and the request is answered with 408 and the connection closed
    /// (over HTTP/2 the stream). When an answer is on its way already, it goes on. `None`: no rate. A WebSocket has
    /// [`Config::message_timeout`](crate::Config::message_timeout) instead.
    pub fn min_request_rate(mut self, rate: impl Into<Option<MinDataRate>>) -> Self {
        self.min_request_rate = rate.into();
        self
    }

    /// Least rate at which the peer has to take an answer that waits for it. Below it, the connection is cut, for behind
    /// half of an answer nothing can be said; over HTTP/2 the stream is reset (`RST_STREAM`) when its window is what is
    /// waited for, and the connection cut when its socket takes nothing. `None`: no rate. A WebSocket over HTTP/1.1 has the
    /// bounds of its [queue](crate::Config) instead, and its keepalive; one over HTTP/2 is cut with its connection.
    pub fn min_response_rate(mut self, rate: impl Into<Option<MinDataRate>>) -> Self {
        self.min_response_rate = rate.into();
        self
    }

    /// Idle limit of an HTTP connection: how long it may wait for its next request. Then it is closed without a word, over
    /// HTTP/2 (no request and no WebSocket) with `GOAWAY`, up to half of the time later. A proxy in front of the server has to
    /// close its idle connections first: set this to more than its limit, else a request that it sends just when the
    /// server closes is a 502 now and then. Zero closes after each answer; `Duration::MAX` never.
    pub fn keep_alive(mut self, idle: Duration) -> Self {
        self.keep_alive = idle;
        self
    }
}
