//! The server as an operator has it: a process that gets signals, runs out of descriptors, stands behind nginx, and whose
//! clients are on networks that go down. Each test starts this binary again as the server (`server.rs`).
//!
//! What is needed beside the kernel: `unshare`, `ip` (Debian: `iproute2`), `nginx` (`nginx-light`).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do the functions that serve it")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "the numbers are the tests' own, and small"
)]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks for them with --nocapture")]
#![allow(clippy::similar_names, reason = "a server serves")]

mod admission;
mod child;
mod descriptors;
mod half_open;
mod idle;
mod memory;
mod namespace;
mod nginx;
mod pause;
mod peer;
mod server;
mod shutdown;
mod storm;
mod takeover;
mod waiting;
