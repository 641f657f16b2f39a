//! The state machine from outside: bytes in, events out.

mod closing;
#[cfg(feature = "deflate")]
mod deflate;
mod direct_read;
mod encoding;
mod fragments;
mod frames;
mod limits;
mod pair;
mod properties;
mod replay;
mod text;
mod values;
