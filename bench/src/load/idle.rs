//! Idle connections: what each costs the server in memory.

use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use crate::connection::Target;
use crate::probe::Probe;
use crate::process::Server;
use crate::{Result, connection};

/// The shortest time for a server to return what the handshakes needed.
const SETTLE: Duration = Duration::from_secs(2);
/// Memory has settled when it was the same for so long ...
const UNCHANGED: Duration = Duration::from_secs(1);
/// ... but for so many bytes, which are three for each connection.
const SLACK: u64 = 64 << 10;
/// The longest wait for that; less than the interval of any keepalive here.
const DEADLINE: Duration = Duration::from_secs(12);

pub(super) fn run(probe: &Probe<'_>, connections: usize, path: &'static str) -> Result<Outcome> {
    let server = probe.server();
    let target = Target { server: server.address(), path, deflate: None };
    // One connection first: what a server allocates once is not a cost of each.
    let first = connection::open(target)?;
    let before = settled(server)?;
    let others = connection::open_many(target, connections - 1)?;
    let after = settled(server)?;
    let bytes = after.saturating_sub(before) as f64 / others.len() as f64;
    drop((first, others));
    Ok(Outcome::Memory(bytes))
}

/// Resident memory, once it does not change any more.
fn settled(server: &Server) -> Result<u64> {
    let deadline = Instant::now() + DEADLINE;
    thread::sleep(SETTLE.saturating_sub(UNCHANGED));
    let mut resident = server.resident()?;
    loop {
        thread::sleep(UNCHANGED);
        let now = server.resident()?;
        if now.abs_diff(resident) <= SLACK || Instant::now() > deadline {
            return Ok(now);
        }
        resident = now;
    }
}
