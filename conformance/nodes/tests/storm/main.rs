//! Three nodes, 300 clients and an engine, of which something is cut all the time: each client's streams are gapless
//! and in order, or flagged where they are not.
//!
//! `NEXIOS_STORM_SECONDS` says how long: 4 among the other tests, 60 in `cargo xtask nodes`. `NEXIOS_STORM_SEED`
//! repeats the choices of a run, though not its times.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do the functions that serve it")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks for them with --nocapture")]

mod check;
mod check_tests;
mod client;
mod crowd;
mod engines;
mod in_process;
mod ledger;
mod link;
mod process;
mod publisher;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One storm at a time: each wants the whole machine.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has told so itself.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn duration() -> Duration {
    let seconds = std::env::var("NEXIOS_STORM_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

fn seed() -> u64 {
    let seed = std::env::var("NEXIOS_STORM_SEED").ok().and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| fastrand::u64(..))
}

#[test]
fn streams_are_gapless_or_flagged_without_an_engine() {
    crowd::storm(in_process::InProcess::start());
}

#[test]
fn streams_are_gapless_or_flagged_through_redis() {
    crowd::storm(engines::Cluster::start(engines::Kind::Redis));
}

#[test]
fn nobody_is_told_of_a_gap_while_redis_is_well_and_nodes_are_killed() {
    crowd::storm(engines::Cluster::start(engines::Kind::Redis).with_an_engine_that_is_well());
}

#[test]
fn nobody_is_told_of_a_gap_while_nats_is_well_and_nodes_are_killed() {
    crowd::storm(engines::Cluster::start(engines::Kind::Nats).with_an_engine_that_is_well());
}

#[test]
fn streams_are_gapless_or_flagged_through_nats() {
    crowd::storm(engines::Cluster::start(engines::Kind::Nats));
}
