//! The faults and attacks that WebSocket servers met in the field, each tried on a real server process, whose memory, CPU
//! time and descriptors are read meanwhile.
//!
//! Each file has a section of the list; a test's comment names its rows there. What every attack has to pass is in
//! `harness/attack.rs`. With `NEXIOS_FAULTS_TABLE=path` what was measured is appended to that file, a Markdown row for each
//! attack.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do the functions that serve it")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers are the tests' own, and small")]

mod compression;
mod failures;
mod floods;
mod frames;
mod framing;
mod handshake;
mod harness;
mod isolation;
