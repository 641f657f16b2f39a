//! What a message that is too long when inflated costs: in a process of its own, whose memory the test reads.
#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::process::Stdio;

use nexios::Compression;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::payload::{bomb, prose};
use super::peer::{FIN, OFFER, Peer, RSV1, config};
use crate::programs::{app, echo};
use crate::serving::{serve, within};
use crate::wire::{BINARY, Wire, raw_frame};

const MIB: usize = 1024 * 1024;
const LIMIT: &str = "NEXIOS_TEST_MESSAGE_SIZE";
const ADDRESS: &str = "listening on ";

/// Serves the echo program until it is killed: the other process of the test below. Without its variable, it has nothing
/// to do.
#[tokio::test]
async fn serves_in_a_process_of_its_own() {
    let Ok(limit) = std::env::var(LIMIT) else { return };
    let limit: usize = limit.parse().unwrap();
    let server = serve(app(echo).config(config(Compression::dedicated()).message_size(limit))).await;
    writeln!(std::io::stdout(), "\n{ADDRESS}{}", server.address).unwrap();
    server.serving.await.unwrap().unwrap();
}

async fn start(limit: usize) -> (Child, Wire) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "compression::memory::serves_in_a_process_of_its_own", "--nocapture"])
        .env(LIMIT, limit.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = within(lines.next_line()).await.unwrap().expect("the other process ended");
        if let Some(address) = line.strip_prefix(ADDRESS) {
            return (child, Wire::connect(address.parse().unwrap()).await);
        }
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(child: &Child, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

async fn check(limit: usize, fragment: usize) {
    let (child, wire) = start(limit).await;
    let mut peer = Peer::upgrade(wire, "/ws", OFFER).await;
    // What every connection that compresses costs does not count.
    for _ in 0..3 {
        peer.send_compressed(&prose(2000)).await;
        peer.message().await.assert_compressed(&prose(2000));
    }
    let before = memory(&child, "VmRSS");
    let bomb = bomb();
    for (n, piece) in bomb.chunks(fragment).enumerate() {
        let fin = if (n + 1) * fragment >= bomb.len() { FIN } else { 0 };
        let first = if n == 0 { RSV1 | BINARY } else { 0 };
        peer.wire.send(raw_frame(fin | first, piece)).await;
    }
    assert_eq!(peer.wire.close_frame().await.0, 1009);
    let taken = memory(&child, "VmHWM").saturating_sub(before);
    assert!(taken < limit + MIB, "{taken} bytes for a limit of {limit}, fragments of {fragment}");
}

#[tokio::test]
async fn a_gibibyte_in_a_mebibyte_costs_less_than_the_limit_and_a_mebibyte() {
    for (limit, fragment) in [(MIB, 2 * MIB), (MIB, 1000), (16 * MIB, 2 * MIB), (16 * MIB, 10_000)] {
        check(limit, fragment).await;
    }
}
