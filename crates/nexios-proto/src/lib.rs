#![no_std]
#![doc = include_str!("docs/crate.md")]

extern crate alloc;
#[cfg(feature = "deflate")]
extern crate std;

mod assembly;
mod close_code;
mod close_frame;
mod connection;
mod control;
mod decode;
mod decoder_config;
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
mod role;
mod single_frame;
mod text;
mod unfinished;
mod utf8;

pub use close_code::CloseCode;
pub use close_frame::CloseFrame;
pub use connection::{CloseState, Connection};
#[cfg(feature = "deflate")]
pub use deflate::Compressor;
pub use error::ProtocolError;
pub use event::{Event, Received};
pub use limits::{Limit, Limits};
pub use mask::MaskKey;
pub use message::Message;
pub use role::Role;
pub use text::Utf8Bytes;
pub use unfinished::DIRECT_READ_MIN;
