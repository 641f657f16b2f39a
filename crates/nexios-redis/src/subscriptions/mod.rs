//! What is subscribed to, on which connection, and what is done when one of them breaks.
//!
//! ```text
//!   subscribe ──▶ hub ──▶ lane (a connection and its channels) ──▶ server
//!                  ▲       │
//!                  └───────┘ up, down, a slot has moved             inbox ──▶ Events
//! ```
//!
//! The hub is one task that knows the servers and all wanted channels. A lane is a task with one connection: in a cluster there
//! is one for each master, otherwise the channels are spread over several to the one server.

mod answer;
mod hub;
mod inbox;
mod lane;
mod pause;
mod settle;

pub(crate) use answer::{Answer, Part};
pub(crate) use hub::{Hub, Known, Request};
