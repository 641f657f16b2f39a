#![no_std]
#![doc = include_str!("docs/crate.md")]

extern crate alloc;
#[cfg(feature = "deflate")]
extern crate std;

mod assembly;
mod close;
mod connection;
mod control;
mod decode;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(not(feature = "deflate"))]
#[path = "deflate/absent.rs"]
mod deflate;
pub mod encode;
mod error;
mod event;
mod frame;
pub mod handshake;
mod limits;
pub mod mask;
mod message;
mod mid;
mod role;
mod rules;
mod text;
mod utf8;
mod whole;

pub use close::{CloseCode, CloseFrame};
pub use connection::{CloseState, Connection};
#[cfg(feature = "deflate")]
pub use deflate::Compressor;
pub use error::ProtocolError;
pub use event::{Event, Received};
pub use limits::{Limit, Limits};
pub use mask::MaskKey;
pub use message::Message;
pub use mid::DIRECT_READ_MIN;
pub use role::Role;
pub use text::Utf8Bytes;
