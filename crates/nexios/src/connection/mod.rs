//! A connection: one task that owns the socket, and a [`Link`] that everybody else shares with it.
//!
//! ```text
//!            ┌────────────── task.rs: ConnectionTask ──────────────┐
//!   socket ──▶ input.rs ─▶ nexios-proto ─▶ link.rs: inbox ─▶ handler (receive)
//!   socket ◀── driver.rs ◀─ outbound.rs ◀─ link.rs: outbound ◀─ handler, senders, groups (send)
//!            └──────────────────────────────────────────────────────┘
//! ```
//!
//! `deflate.rs` compresses before `sending.rs` queues, `closing.rs` is every way to end, `asked.rs` waits for answers,
//! `rates.rs` and `holding.rs` bound what a peer sends and what is held for it, `keepalive.rs` and `wheel.rs` are time, `tick.rs` puts off what is
//! published, `registry.rs` is the list of all.

mod asked;
mod backlog;
mod caller;
mod closing;
mod deflate;
mod direct;
mod driver;
mod ending;
mod exchange;
mod fan_out;
mod holding;
#[cfg(feature = "http2")]
mod http2;
mod inbox;
mod input;
mod keepalive;
mod link;
mod outbound;
mod publication;
mod rates;
mod registry;
mod sending;
mod signals;
mod task;
mod tick;
mod transport;
mod waiters;
mod wheel;
mod worker;

pub(crate) use backlog::Key;
pub(crate) use deflate::Coding;
pub(crate) use exchange::connection_of_this_turn;
pub(crate) use fan_out::{Effects, Terms};
pub(crate) use link::{Link, OnError, Settings};
pub(crate) use publication::Publication;
pub(crate) use registry::Registry;
pub(crate) use sending::{Enqueued, Form, Unoffered};
pub(crate) use task::ConnectionTask;
pub(crate) use tick::{PutOff, catch_up, catch_up_everywhere, catch_up_on_others, put_off};
pub(crate) use transport::Transport;
pub(crate) use worker::Worker;
