//! The codec of permessage-deflate (RFC 7692 §7.2). Its negotiation is in [`handshake`](crate::handshake::deflate).
//!
//! zlib's states are large, about 40 KiB to inflate and 300 KiB to compress, so each thread keeps a few for all its
//! connections: a connection holds one only with context takeover, or during a message.

mod compressor;
mod incoming;
mod inflater;
mod output;
mod pool;

pub use compressor::Compressor;
pub(crate) use incoming::{Compressed, Context, Incoming};

/// The tail that a sender removes from each message: the body of an empty stored block (RFC 7692 §7.2.1).
const TAIL: &[u8] = b"\x00\x00\xff\xff";
