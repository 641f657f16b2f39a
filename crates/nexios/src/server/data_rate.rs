//! The least rate at which a peer has to move bytes.

use std::time::Duration;

/// Least data rate of a peer: so many bytes in a second, after a grace period.
///
/// It is a credit of time. A request starts with the grace period (5 s); waiting for the peer spends it, and each byte that
/// the peer sends or takes adds its part of a second, up to a minute (or the grace period, if that is longer). A peer that
/// keeps to the rate is never late, one that does nothing is late when the grace period is over. Only waiting for the peer
/// counts: neither the time in which the application has nothing to send, as in a long poll or an event stream, nor that
/// in which it does not read.
///
/// ```
/// use std::time::Duration;
///
/// use nexios::{App, MinDataRate, ServerConfig};
///
/// let rate = MinDataRate::per_second(1_000).grace(Duration::from_secs(10));
/// let server = ServerConfig::new().min_request_rate(rate).min_response_rate(None);
/// # drop(App::new().server_config(server));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinDataRate {
    bytes: u32,
    pub(super) grace: Duration,
}

impl MinDataRate {
    /// So many bytes in a second, with a grace period of 5 s. Zero asks for nothing, as without a rate.
    pub const fn per_second(bytes: u32) -> Self {
        Self { bytes, grace: Duration::from_secs(5) }
    }

    /// How long a peer may move nothing at first. Zero leaves no time at all: a peer has to be faster than the server.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(super) fn is_nothing(self) -> bool {
        self.bytes == 0
    }

    /// How long so many bytes may take.
    pub(super) fn time_for(self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        bytes.saturating_mul(1_000_000).checked_div(self.bytes.into()).map_or(Duration::MAX, Duration::from_micros)
    }
}
