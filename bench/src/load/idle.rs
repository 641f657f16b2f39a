//! Idle connections: what each costs the server in memory.

use std::thread;
use std::time::Duration;

use super::Outcome;
use crate::connection::Target;
use crate::probe::Probe;
use crate::{Result, connection};

/// Time for a server to return what the handshakes needed.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn run(probe: &Probe<'_>, connections: usize) -> Result<Outcome> {
    let server = probe.server();
    let target = Target { server: server.address(), path: "/echo", deflate: false };
    // One connection first: what a server allocates once is not a cost of each.
    let first = connection::open(target)?;
    thread::sleep(Duration::from_millis(200));
    let before = server.resident()?;
    let others = connection::open_many(target, connections - 1)?;
    thread::sleep(SETTLE);
    let after = server.resident()?;
    let bytes = after.saturating_sub(before) as f64 / others.len() as f64;
    drop((first, others));
    Ok(Outcome::Memory(bytes))
}
