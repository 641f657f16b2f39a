#![no_std]
#![doc = include_str!("docs/crate.md")]

extern crate alloc;

mod assembly;
mod caps;
mod close;
mod connection;
mod decode;
pub mod encode;
mod error;
mod event;
mod frame;
pub mod handshake;
mod limits;
pub mod mask;
mod message;
mod role;
mod text;
mod utf8;
mod whole;

pub use close::{CloseCode, CloseFrame};
pub use connection::{CloseState, Connection};
pub use decode::DIRECT_READ_MIN;
pub use error::ProtocolError;
pub use event::{Event, Received};
pub use limits::{Limit, Limits};
pub use mask::MaskKey;
pub use message::Message;
pub use role::Role;
pub use text::Utf8Bytes;
