//! A server to attack, clients that mean no good, and what is measured meanwhile.

mod attack;
mod bystander;
mod client;
mod deflate;
mod fragile;
mod proof;
mod served;
mod table;
mod victim;
mod wire;

pub(crate) use attack::{Attack, cpu};
pub(crate) use bystander::Waits;
pub(crate) use client::Client;
pub(crate) use deflate::{bomb, deflated, is_text};
pub(crate) use victim::Victim;
pub(crate) use wire::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, announced, close, frame, raw_frame, request, text,
};

/// Sizes are counted in these.
pub(crate) const KIB: u64 = 1024;
/// Sizes are counted in these.
pub(crate) const MIB: u64 = 1024 * KIB;
