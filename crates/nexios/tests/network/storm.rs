//! A server that is killed, and all its clients who come back at once (faults.md, row 53).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::peer::Peer;
use crate::server::Server;
use crate::waiting::{PATIENCE, alone, block_on, wait_until_async};

/// So many clients instead of 1,000.
const ASKED_FOR: &str = "NEXIOS_STORM";
const BACK_WITHIN: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    here: AtomicUsize,
    /// The most attempts that one client needed to come back.
    attempts: AtomicU32,
}

#[test]
fn after_a_kill_all_clients_are_back_within_30_s() {
    let _alone = alone();
    let clients = std::env::var(ASKED_FOR).ok().map_or(1_000, |n| n.parse().unwrap());
    let mut server = Server::start("");
    let address = server.address;
    block_on(async {
        let (seen, mut all) = (Arc::<Seen>::default(), JoinSet::new());
        for _ in 0..clients {
            all.spawn(keep_connected(address, Arc::clone(&seen)));
        }
        let is_here = |n| move |seen: &Seen| seen.here.load(Ordering::Relaxed) == n;
        wait_until_async(BACK_WITHIN, "all are here", || is_here(clients)(&seen)).await;
        let calm = server.memory_kib("VmHWM");

        server.signal(Signal::KILL);
        server.child.ended(PATIENCE);
        wait_until_async(PATIENCE, "all have noticed", || is_here(0)(&seen)).await;
        seen.attempts.store(0, Ordering::Relaxed);
        let killed = Instant::now();
        let mut command = Server::command("");
        let server = Server::run(command.env("NEXIOS_PORT", address.port().to_string()));
        wait_until_async(BACK_WITHIN, "all are back", || is_here(clients)(&seen)).await;
        let (took, peak) = (killed.elapsed(), server.memory_kib("VmHWM"));
        let attempts = seen.attempts.load(Ordering::Relaxed);
        println!(
            "{clients} clients back after {took:?}, with at most {attempts} attempts; {calm} KiB before, at most {peak} now"
        );
        assert!(peak < 2 * calm, "{peak} KiB at most, {calm} KiB before");
        assert!(attempts <= 8, "{attempts}");
    });
}

/// Comes back at a moment by chance within a time that doubles with each attempt (full jitter).
async fn keep_connected(server: SocketAddr, seen: Arc<Seen>) {
    let mut attempts = 0;
    loop {
        attempts += 1;
        if let Ok(mut peer) = Peer::connect(server, "/echo").await
            && peer.echo("here").await.is_ok()
        {
            seen.here.fetch_add(1, Ordering::Relaxed);
            seen.attempts.fetch_max(attempts, Ordering::Relaxed);
            while peer.next().await.is_ok() {}
            seen.here.fetch_sub(1, Ordering::Relaxed);
            attempts = 0;
        }
        let most = 100 << attempts.min(7);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..most))).await;
    }
}
