//! Measures whole WebSocket servers: a load generator, the runner that starts each server in turn, and the table.
//!
//! One server at a time runs on one core and the load generator on the other. The generator is a single thread
//! over epoll; it sends frames that were built beforehand and compares every byte that comes back with the answer
//! it must be, so its own work per message stays below that of any server, and a server that cheats fails.
//!
//! `cell` says what is measured, `load` does it, `probe` takes the server's CPU time and memory around the measured
//! window, `peer` builds and names the servers, `runner` goes through rounds, cells and peers, `report` prints.
//! `groups` stands beside all that: what groups cost, measured from the inside of one process. `soak` is a server for
//! half an hour among those who come, go and mean harm, `storm` a simulation of what follows when a node is lost.

#![allow(clippy::cast_precision_loss, reason = "figures are printed with three digits; counts stay far below 2^52")]

pub mod cell;
pub mod cli;
pub mod connection;
pub mod deflate;
pub mod groups;
pub mod histogram;
pub mod instructions;
pub mod load;
pub mod nodes;
pub mod payload;
pub mod peer;
pub mod poller;
pub mod probe;
pub mod process;
pub mod report;
pub mod ring;
pub mod runner;
pub mod soak;
pub mod storm;
pub mod syscalls;
pub mod table;
pub mod wire;

/// The error of a run: input/output, or a message.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of everything here that can fail.
pub type Result<T = ()> = std::result::Result<T, Error>;
