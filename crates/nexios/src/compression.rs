//! Whether and how a connection compresses.

use std::str::FromStr;

use nexios_proto::Role;
use nexios_proto::handshake::deflate::DeflateOptions;

/// Compression of messages (permessage-deflate, RFC 7692), for an app or a route: off by default.
///
/// A connection compresses when its client asks for it in the handshake, as browsers do. The three settings:
///
/// | | compressor | an idle connection costs |
/// |---|---|---|
/// | [`off`](Self::off) | none; the offer is declined | nothing |
/// | [`shared`](Self::shared) | one for all connections of a thread; each message stands for itself (no context takeover) | about 100 bytes, before and after it has talked |
/// | [`dedicated`](Self::dedicated) | one for each connection, with the window of what was sent before: small, similar messages become much smaller | about 370 KiB once it has sent a compressed message (250 with 9 bits), 40 KiB once it has received one |
///
/// All dedicated compressors of a server together take at most half of
/// [`ServerConfig::buffered_bytes`](crate::ServerConfig::buffered_bytes); connections beyond that share one. glibc's allocator keeps most of
/// their memory when they are gone, for the next ones; `MALLOC_MMAP_THRESHOLD_=131072` in the environment gives it back.
///
/// Messages shorter than [`threshold`](Self::threshold) (1 KiB), and those that would not become smaller, are sent as they
/// are. A message to a [`Group`](crate::Group) is compressed once for all members that agreed on the same parameters.
///
/// What arrives is inflated no further than [`Config::message_size`](crate::Config::message_size) (1 MiB), counted on the
/// inflated bytes: a longer message closes the connection with 1009.
///
/// # Secrets
///
/// The length of a compressed message tells what in it is alike. Where a message holds a secret next to what an attacker
/// may choose, that is enough to guess the secret bit by bit (the attacks called CRIME and BREACH), TLS or not. Send such
/// messages with [`WebSocket::send_uncompressed`](crate::WebSocket::send_uncompressed). With a dedicated compressor that
/// goes for a secret in one message and an attacker's choice in another, too.
///
/// ```
/// use nexios::{App, Compression, Config};
///
/// let app = App::new().config(Config::new().compression(Compression::shared().threshold(512)));
/// # drop(app);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    kind: Kind,
    pub(crate) threshold: usize,
    pub(crate) level: u8,
    pub(crate) window_bits: u8,
    pub(crate) free_when_idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Off,
    Shared,
    Dedicated,
}

impl Compression {
    /// No compression.
    pub const fn off() -> Self {
        Self::of(Kind::Off)
    }

    /// One compressor for all connections of a thread.
    pub const fn shared() -> Self {
        Self::of(Kind::Shared)
    }

    /// A compressor for each connection, from its first compressed message on.
    pub const fn dedicated() -> Self {
        Self::of(Kind::Dedicated)
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, threshold: 1024, level: 1, window_bits: 15, free_when_idle: false }
    }

    /// The length in bytes from which on messages are compressed. Default: 1,024.
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// From 1, the fastest, to 9, the smallest; other numbers count as the nearest of these. Default: 1.
    ///
    /// For 1 KiB of JSON a shared compressor takes about 5 µs and a third of the bytes remain at level 1; at level 4 it is
    /// 12 µs and two sevenths, and more brings little more (`cargo bench -p nexios-proto --features deflate`).
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = match level {
            0 => 1,
            10.. => 9,
            level => level,
        };
        self
    }

    /// The most bits of the window with which this end compresses, from 9 (512 bytes) to 15 (32 KiB); other numbers count
    /// as the nearest of these. Default: 15. A smaller window takes less memory at both ends.
    #[must_use]
    pub const fn window_bits(mut self, bits: u8) -> Self {
        self.window_bits = match bits {
            0..=8 => 9,
            16.. => 15,
            bits => bits,
        };
        self
    }

    /// Frees a dedicated compressor when a connection has sent nothing compressed from one
    /// [ping](crate::Config::ping_interval) (20 s) to the next. The next message begins with an empty window.
    #[must_use]
    pub const fn free_when_idle(mut self, free: bool) -> Self {
        self.free_when_idle = free;
        self
    }

    pub(crate) fn is_off(&self) -> bool {
        self.kind == Kind::Off
    }

    pub(crate) fn is_dedicated(&self) -> bool {
        self.kind == Kind::Dedicated
    }

    /// What is negotiated; `None` when nothing is.
    pub(crate) fn options(&self, role: Role) -> Option<DeflateOptions> {
        let alone = self.kind == Kind::Shared;
        let options = DeflateOptions::new().server_no_context_takeover(alone).client_no_context_takeover(alone);
        let options = match role {
            Role::Server => options.server_max_window_bits(self.window_bits),
            Role::Client => options.client_max_window_bits(self.window_bits),
        };
        (!self.is_off()).then_some(options)
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::off()
    }
}

/// A word that names no kind of compression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of compression: off, shared, dedicated")]
pub struct ParseCompressionError(String);

/// `off`, `shared` or `dedicated`, for settings that come from outside of the program.
impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(word: &str) -> Result<Self, ParseCompressionError> {
        match word {
            "off" => Ok(Self::off()),
            "shared" => Ok(Self::shared()),
            "dedicated" => Ok(Self::dedicated()),
            other => Err(ParseCompressionError(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_kind() {
        assert_eq!("off".parse(), Ok(Compression::off()));
        assert_eq!("shared".parse(), Ok(Compression::shared()));
        assert_eq!("dedicated".parse(), Ok(Compression::dedicated()));
        let error = "gzip".parse::<Compression>().unwrap_err();
        assert_eq!(error.to_string(), "\"gzip\" is no kind of compression: off, shared, dedicated");
    }

    #[test]
    fn settings_out_of_range_count_as_the_nearest() {
        let tame = Compression::shared().level(0).window_bits(3);
        assert_eq!((tame.level, tame.window_bits), (1, 9));
        let wild = Compression::shared().level(200).window_bits(200);
        assert_eq!((wild.level, wild.window_bits), (9, 15));
    }
}
