//! Subscriptions: which channel is on which connection, and recovery when a connection breaks.
//!
//! ```text
//!   subscribe ──▶ hub ──▶ subscriber (a connection and its channels) ──▶ server
//!                  ▲       │
//!                  └───────┘ up, down, a slot has moved            inbox ──▶ Events
//! ```
//!
//! The hub is one task that knows the servers and all wanted channels. A subscriber is a task with one connection: in a
//! cluster there is one for each master, otherwise the channels are spread over several connections to the one server.

mod backoff;
mod commands;
mod completion;
mod hub;
mod inbox;
mod rebalance;
mod subscriber;

pub(crate) use commands::{Discovery, Request};
pub(crate) use completion::{Completion, Part};
pub(crate) use hub::Hub;
