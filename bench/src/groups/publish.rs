//! What publishing to a group of 1,000 costs the publisher before it goes on, and what it costs altogether.
//!
//! What is put off to the end of the tick is not hidden: a task that is spawned behind it says how long that took, and
//! CPU time is that of the whole serving thread, writes included.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use nexios::prelude::*;
use nexios::{GroupsConfig, History};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{sleep, timeout};

use super::clock::{self, micros};
use super::readers::Readers;
use super::worker::{join, on_core};
use super::{Figures, TEXT};
use crate::Result;
use crate::histogram::Histogram;
use crate::process::pin;
use crate::wire::{self, Opcode};

const MEMBERS: usize = 1000;
const WARM_UP: usize = 50;
const TICKS: usize = 500;
const SETTLE: Duration = Duration::from_millis(500);
/// The longest wait for anything.
const STALLED: Duration = Duration::from_secs(10);

/// Publishes so many messages in each tick, and waits until all members have them.
pub(super) fn run(burst: usize, history: Option<History>) -> Result<Figures> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (all_have_it, arrived) = mpsc::unbounded_channel();
    let server = on_core(0, move || serve(listener, burst, history, arrived));
    pin(&[1])?;
    let mut readers = Readers::connect(address, MEMBERS)?;
    let expected = wire::answer(Opcode::Text, TEXT.as_bytes());
    let (mut missing, mut ticks) = (burst * MEMBERS, 0);
    // The server ends before only if it has failed: `join` says why.
    while ticks < WARM_UP + TICKS && !server.is_finished() {
        readers.read(|frame| {
            if frame != expected {
                return Err(format!("a delivery differs from the message: {frame:02x?}").into());
            }
            missing -= 1;
            if missing == 0 {
                (missing, ticks) = (burst * MEMBERS, ticks + 1);
                all_have_it.send(Instant::now())?;
            }
            Ok(())
        })?;
    }
    join(server)
}

async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    room(&groups).join(&websocket).await?;
    loop {
        websocket.receive().await?;
    }
}

fn room(groups: &Groups) -> Group {
    groups.group("room")
}

async fn serve(
    listener: TcpListener,
    burst: usize,
    history: Option<History>,
    mut arrived: UnboundedReceiver<Instant>,
) -> Result<Figures> {
    // On a busy machine it takes longer than the interval of pings, which the readers do not expect.
    let group = history.map_or_else(GroupConfig::new, |history| GroupConfig::new().history(history));
    let app = App::new()
        .config(Config::new().ping_interval(None))
        .groups_config(GroupsConfig::new().each(group))
        .websocket_route("/member", member);
    let room = room(&app.groups());
    tokio::spawn(app.serve(tokio::net::TcpListener::from_std(listener)?));
    while room.len().await? < MEMBERS {
        sleep(Duration::from_millis(10)).await;
    }
    // The last one may not have read the handshake's answer yet, which must come alone.
    sleep(SETTLE).await;
    let (mut sends, mut ends, mut arrivals) = (Histogram::new(), Histogram::new(), Histogram::new());
    let mut cpu = clock::of_thread();
    for tick in 0..WARM_UP + TICKS {
        if tick == WARM_UP {
            for histogram in [&mut sends, &mut ends, &mut arrivals] {
                histogram.clear();
            }
            cpu = clock::of_thread();
        }
        let began = Instant::now();
        let mut at = began;
        for _ in 0..burst {
            room.send_text(Utf8Bytes::from_static(TEXT)).await?;
            let now = Instant::now();
            sends.record(now - at);
            at = now;
        }
        // Its turn comes right behind what was put off, before the members' own tasks.
        ends.record(tokio::spawn(async { Instant::now() }).await? - at);
        let arrived = timeout(STALLED, arrived.recv()).await?.ok_or("the readers have failed")?;
        arrivals.record(arrived - began);
    }
    let cpu = micros(clock::of_thread().saturating_sub(cpu)) / (TICKS * burst) as f64;
    let quantile = |histogram: &Histogram, fraction| histogram.quantile(fraction).map(micros).unwrap_or_default();
    Ok(vec![
        ("the publisher goes on after, µs, median", quantile(&sends, 0.5)),
        ("the publisher goes on after, µs, p99", quantile(&sends, 0.99)),
        ("distributing at the end of the tick, µs, median", quantile(&ends, 0.5)),
        ("distributing at the end of the tick, µs, p99", quantile(&ends, 0.99)),
        ("CPU of the thread for one publication, µs", cpu),
        ("CPU of the thread for one delivery, µs", cpu / MEMBERS as f64),
        ("until the last member has the tick's, µs, median", quantile(&arrivals, 0.5)),
    ])
}
