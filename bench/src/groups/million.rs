//! A million groups with three members each: memory, and that nothing of it stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nexios::prelude::*;
use tokio::sync::watch;

use super::Figures;
use super::audience::{Audience, InProcess, until};
use super::clock::{self, micros};
use super::worker::{join, on_core};
use crate::Result;

const GROUPS: usize = 1_000_000;
const MEMBERS: usize = 3;
/// As many as a connection may be in by default.
const EACH: usize = 1_000;
const CONNECTIONS: usize = GROUPS * MEMBERS / EACH;
const MIB: f64 = 1024.0 * 1024.0;

/// The signals between the handlers and the measurement.
#[derive(Clone)]
struct Signals {
    join: watch::Receiver<bool>,
    joined: Arc<AtomicUsize>,
}

/// Twice, for what stays the first time should be used again the second time.
pub(super) fn run() -> Result<Figures> {
    join(on_core(0, || async {
        let (may_join, join) = watch::channel(false);
        let signals = Signals { join, joined: Arc::default() };
        let app = App::with_state(signals.clone())
            .config(Config::new().ping_interval(None))
            .websocket_route("/member/{number}", member);
        let (groups, handle) = (app.groups(), app.handle());
        let router = app.into_router::<()>();
        let mut figures = Vec::new();
        let before = clock::memory()?;
        for is_first in [true, false] {
            let audience = Audience::new("nothing is published");
            let listener = InProcess::new(&audience, 0..CONNECTIONS);
            let server = tokio::spawn(axum::serve(listener, router.clone()).into_future());
            let audiences = [audience];
            until(&audiences, || handle.connection_count() == CONNECTIONS).await?;
            let (connected, began, cpu) = (clock::memory()?, Instant::now(), clock::of_thread());
            may_join.send_replace(true);
            let joined = until(&audiences, || signals.joined.load(Ordering::Relaxed) == CONNECTIONS).await?;
            let held = clock::memory()? - connected;
            if is_first {
                let memberships = (GROUPS * MEMBERS) as f64;
                figures.push(("groups", groups.len() as f64));
                figures.push(("resident bytes per group, with its three memberships", held / GROUPS as f64));
                figures.push(("seconds to join", (joined - began).as_secs_f64()));
                figures.push(("CPU for one join, µs", micros(clock::of_thread().saturating_sub(cpu)) / memberships));
            }
            let began = Instant::now();
            audiences[0].leave();
            let gone = until(&audiences, || handle.connection_count() == 0).await?;
            server.abort();
            may_join.send_replace(false);
            signals.joined.store(0, Ordering::Relaxed);
            let left = (clock::memory()? - before) / MIB;
            if is_first {
                figures.push(("seconds to leave", (gone - began).as_secs_f64()));
                figures.push(("groups that stay", groups.len() as f64));
                figures.push(("MiB resident while joined", (held + connected - before) / MIB));
            }
            let name = if is_first { "MiB resident when all have left" } else { "the same, the second time" };
            figures.push((name, left));
        }
        Ok(figures)
    }))
}

/// Three connections for each block of a thousand groups.
async fn member(
    mut websocket: WebSocket,
    Path(number): Path<usize>,
    State(mut signals): State<Signals>,
    groups: Groups,
) -> nexios::Result {
    websocket.accept().await?;
    signals.join.wait_for(|may_join| *may_join).await.map_err(Error::other)?;
    let first = number / MEMBERS * EACH;
    for group in first..first + EACH {
        groups.group(format!("group/{group}")).join(&websocket).await?;
    }
    signals.joined.fetch_add(1, Ordering::Relaxed);
    drop(signals);
    loop {
        websocket.receive().await?;
    }
}
