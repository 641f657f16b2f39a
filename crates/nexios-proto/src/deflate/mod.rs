//! The codec of permessage-deflate (RFC 7692 §7.2). What is negotiated stands in [`handshake`](crate::handshake::deflate).
//!
//! zlib's states are large, some 40 KiB to inflate and some 300 KiB to compress, so each thread keeps a few for all its
//! connections: a connection holds one only where it must.

mod compressor;
mod incoming;
mod inflater;
mod output;
mod pool;

pub use compressor::Compressor;
pub(crate) use incoming::{Compressed, Context, Incoming};

/// What a sender takes off the end of each message: the body of an empty stored block (RFC 7692 §7.2.1).
const TAIL: &[u8] = b"\x00\x00\xff\xff";
