//! Who gets in: how many connections there are, from one address and in all, and how fast they come.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use nexios_proto::Limit;

use super::ServerConfig;
use super::rate_table::{RateTable, SharedBucket};
use crate::rate::{Bucket, Rate};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Addresses are spread over this many locks.
const SHARDS: usize = 16;

/// So many sockets more than there may be connections are listened to, for health checks and metrics: a server that is full
/// is not a sick one. For a WebSocket there is no room among them.
const RESERVE: usize = 16;

/// How many connections one address may have that is not this machine's own.
const PER_ADDRESS: usize = 1_024;

/// How many handshakes an address may begin that is not this machine's own: as many at once as it may have connections, so
/// that all who are behind it can come back together.
const HANDSHAKES: Rate = Rate::per_second(100).burst(1_024);

/// How many requests of such an address may be refused before it is not listened to for a while.
const REFUSALS: Rate = Rate::per_second(50).burst(1_024);

/// When those who are refused may come back, in seconds.
const RETRY_AFTER: &str = "5";

/// Counts all connections of an app.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    terms: OnceLock<Terms>,
    seats: AtomicUsize,
    /// Keyed by what clients choose, in part: the hasher has a random key.
    addresses: [Mutex<HashMap<Address, usize>>; SHARDS],
}

#[derive(Debug)]
struct Terms {
    connections: Limit,
    per_address: Option<Limit>,
    rate: Option<Mutex<Bucket>>,
    handshakes: Option<RateTable>,
    refusals: Option<RateTable>,
    messages: Option<RateTable>,
}

/// An address as it is counted, or nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Address(u64);

/// One connection, as long as it is counted.
#[derive(Debug)]
pub(crate) struct Seat {
    admission: Arc<Admission>,
    address: Address,
    /// It was one of the sockets beyond the connections.
    is_reserve: bool,
}

/// The seat of a socket, for the first of its requests that becomes a WebSocket.
#[derive(Clone, Debug)]
pub(crate) struct SocketSeat {
    peer: Option<IpAddr>,
    seat: Arc<Mutex<Option<Seat>>>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are as many as there may be.
    Full,
    /// Too many came within a second.
    TooFast,
    /// Its address has as many as it may have.
    AddressFull,
    /// Its address has come too often, or was refused too often.
    AddressTooFast,
    /// The server is going down.
    ShuttingDown,
    /// The memory budget has no room for it.
    Overloaded,
}

impl Admission {
    pub(crate) fn configure(&self, config: &ServerConfig) {
        let rate = config.accept_rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now())));
        let for_addresses = |rate: Option<Option<Rate>>, default: Option<Rate>| {
            rate.unwrap_or(default).map(|each| RateTable::new(each, rate.is_some()))
        };
        let terms = Terms {
            connections: config.connections,
            per_address: config.connections_per_address,
            rate,
            handshakes: for_addresses(config.handshake_rate_per_address, Some(HANDSHAKES)),
            refusals: for_addresses(config.refusal_rate_per_address, Some(REFUSALS)),
            messages: config.message_rate_per_address.map(|rate| RateTable::new(rate, true)),
        };
        // The first to build the app decides; nobody builds it twice.
        let _ = self.terms.set(terms);
    }

    /// Counts one more WebSocket, if there may be one.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Refused> {
        self.admit_within(address, 0)
    }

    /// Counts one more socket, if there may be one. Whether it may become a WebSocket is asked later.
    pub(crate) fn admit_socket(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Refused> {
        self.admit_within(address, RESERVE)
    }

    /// Counts one more handshake of a client at this address, if there may be one.
    pub(crate) fn begin_handshake(&self, ip: IpAddr) -> Result<(), Refused> {
        self.check_refusals(ip)?;
        let handshakes = self.terms.get().and_then(|terms| terms.handshakes.as_ref());
        if handshakes.is_none_or(|table| table.take(ip)) { Ok(()) } else { Err(Refused::AddressTooFast) }
    }

    /// A request of a client at this address was refused for what it said.
    pub(crate) fn note_refusal(&self, ip: IpAddr) {
        if let Some(table) = self.terms.get().and_then(|terms| terms.refusals.as_ref()) {
            table.take(ip);
        }
    }

    fn check_refusals(&self, ip: IpAddr) -> Result<(), Refused> {
        let refusals = self.terms.get().and_then(|terms| terms.refusals.as_ref());
        if refusals.is_none_or(|table| table.check(ip)) { Ok(()) } else { Err(Refused::AddressTooFast) }
    }

    /// What all connections of a client at this address may send, where that is limited.
    pub(crate) fn messages_of(&self, ip: IpAddr) -> Option<SharedBucket> {
        self.terms.get()?.messages.as_ref()?.bucket(ip)
    }

    fn admit_within(self: &Arc<Self>, address: Option<IpAddr>, reserve: usize) -> Result<Seat, Refused> {
        let mut seat = Seat { admission: Arc::clone(self), address: Address::default(), is_reserve: false };
        let seats = self.seats.fetch_add(1, Ordering::AcqRel) + 1;
        let Some(terms) = self.terms.get() else { return Ok(seat) };
        seat.is_reserve = !terms.connections.allows(seats);
        if !terms.connections.allows(seats.saturating_sub(reserve)) {
            return Err(Refused::Full);
        }
        if let Some(ip) = address.filter(|_| reserve > 0) {
            self.check_refusals(ip)?;
        }
        if let Some(rate) = &terms.rate {
            let mut bucket = rate.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.check(Instant::now()).map_err(|_| Refused::TooFast)?;
            bucket.take(1);
        }
        seat.count_for(address)
    }

    /// Whether there is room for everybody who is counted, without the reserve.
    fn has_room(&self) -> bool {
        let seats = self.seats.load(Ordering::Acquire);
        self.terms.get().is_none_or(|terms| terms.connections.allows(seats))
    }

    /// Counts a connection for an address, and tells what stands for it.
    fn take(&self, ip: IpAddr) -> Result<Address, Refused> {
        let Some(terms) = self.terms.get() else { return Ok(Address::default()) };
        let ip = ip.to_canonical();
        let limit =
            terms.per_address.unwrap_or(if ip.is_loopback() { Limit::Unlimited } else { Limit::At(PER_ADDRESS) });
        // Also where there is no limit: histories know publishers by their addresses.
        let address = Address::from(ip);
        let mut shard = self.shard(address);
        let count = shard.get(&address).copied().unwrap_or(0);
        if !limit.allows(count + 1) {
            return Err(Refused::AddressFull);
        }
        shard.insert(address, count + 1);
        Ok(address)
    }

    fn give_back(&self, address: Address) {
        if address == Address::default() {
            return;
        }
        let mut shard = self.shard(address);
        if let Some(count) = shard.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&address);
            }
        }
    }

    /// Ends what [`Seat::leave_to`] began.
    pub(crate) fn leave(&self, address: Address) {
        self.give_back(address);
        self.seats.fetch_sub(1, Ordering::AcqRel);
    }

    fn shard(&self, address: Address) -> MutexGuard<'_, HashMap<Address, usize>> {
        self.addresses[address.shard(SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Counts it for this address, instead of the one before.
    pub(crate) fn count_for(mut self, address: Option<IpAddr>) -> Result<Self, Refused> {
        let before = std::mem::take(&mut self.address);
        self.admission.give_back(before);
        if let Some(ip) = address {
            self.address = self.admission.take(ip)?;
        }
        Ok(self)
    }

    /// From now on whoever holds the address has to [leave](Admission::leave) in the end: a place in a table needs no more
    /// than that.
    pub(crate) fn into_address(mut self) -> Address {
        let address = std::mem::take(&mut self.address);
        // Counted again by the one who holds the address, before this seat is given back.
        self.admission.seats.fetch_add(1, Ordering::AcqRel);
        address
    }
}

impl SocketSeat {
    pub(crate) fn new(peer: Option<SocketAddr>, seat: Seat) -> Self {
        Self { peer: peer.map(|peer| peer.ip().to_canonical()), seat: Arc::new(Mutex::new(Some(seat))) }
    }

    /// For a client at this address, which a proxy's is not.
    pub(crate) fn take_for(&self, client: Option<IpAddr>) -> Result<Option<Seat>, Refused> {
        let mut place = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|seat| seat.is_reserve && !seat.admission.has_room()) {
            return Err(Refused::Full);
        }
        let seat = place.take();
        drop(place);
        match seat {
            Some(seat) if client != self.peer => seat.count_for(client).map(Some),
            seat => Ok(seat),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.leave(self.address);
    }
}

impl Address {
    /// Which of so many shards it is in. Neighbouring networks of one owner are spread.
    pub(super) fn shard(self, shards: usize) -> usize {
        usize::try_from(self.0 % shards as u64).unwrap_or(0)
    }
}

impl From<IpAddr> for Address {
    /// An IPv6 address counts by the 64 bits that a subscriber is given; an IPv4 address fits into those of `::/32`, which
    /// nobody is given.
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_bits().into(),
            IpAddr::V6(ip) => u64::try_from(ip.to_bits() >> 64).unwrap_or(0).max(1),
        })
    }
}

impl Refused {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Full | Self::TooFast | Self::ShuttingDown | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::AddressFull | Self::AddressTooFast => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Full => "there are too many connections",
            Self::TooFast => "there are too many new connections",
            Self::AddressFull => "there are too many connections from this address",
            Self::AddressTooFast => "there are too many requests from this address",
            Self::ShuttingDown => "server is shutting down",
            Self::Overloaded => "server is overloaded",
        }
    }

    /// For metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooFast => "rate",
            Self::AddressFull => "address",
            Self::AddressTooFast => "address rate",
            Self::ShuttingDown => "shutdown",
            Self::Overloaded => "memory",
        }
    }

    /// The answer as it goes over a socket that speaks HTTP/1.1, before a request was read.
    pub(crate) fn as_bytes(self) -> Vec<u8> {
        let (status, body) = (self.status(), self.reason());
        format!(
            "HTTP/1.1 {status}\r\nretry-after: {RETRY_AFTER}\r\nconnection: close\r\n\
             content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}\n",
            body.len() + 1
        )
        .into_bytes()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{}\n", self.reason())).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        response
    }
}
