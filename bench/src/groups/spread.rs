//! Thousands of groups on one thread or two: what publishers gain from a second core, and what they pay for reaching
//! over to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexios::prelude::*;
use tokio::time::sleep;

use super::audience::{Audience, InProcess, until};
use super::clock::{self, micros};
use super::worker::{join, on_core};
use super::{Figures, TEXT};
use crate::Result;

/// Groups that a connection is in, and so the members that a group has.
const MEMBERS: usize = 10;
/// Even: connections of equal parity meet, which is those of one thread out of two.
const NEAR: usize = 486;
/// Odd: the members of a group alternate between two threads.
const FAR: usize = 487;
const START_DEADLINE: Duration = Duration::from_secs(20);
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);

/// Whom a thread's publisher publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Groups all of whose members are on its thread.
    Own,
    /// All groups, whose members are on all threads.
    All,
}

/// A publisher on each thread publishes as fast as it can, to so many groups over as many connections.
pub(super) fn run(threads: usize, count: usize, reach: Reach) -> Result<Figures> {
    let stride = if reach == Reach::Own { NEAR } else { FAR };
    let app = App::with_state(Circle { count, stride })
        .config(Config::new().ping_interval(None))
        .websocket_route("/member/{number}", member);
    let (groups, handle) = (app.groups(), app.handle());
    let router = app.into_router::<()>();
    let audiences: Vec<_> = (0..threads).map(|_| Audience::new(TEXT)).collect();
    let progress = Arc::new(Progress { running: AtomicUsize::new(threads), ..Progress::default() });
    let publishers = audiences.iter().enumerate().map(|(thread, audience)| {
        let listener = InProcess::new(audience, (thread..count).step_by(threads));
        let every = if reach == Reach::Own { threads } else { 1 };
        let mine = (thread..count).step_by(every).map(|number| groups.group(name(number))).collect::<Vec<_>>();
        let (router, groups, progress) = (router.clone(), groups.clone(), Arc::clone(&progress));
        let audiences = audiences.clone();
        on_core(thread, move || async move {
            tokio::spawn(async { axum::serve(listener, router).await });
            until(&audiences, || groups.len() == count).await?;
            while !every_member_is_in(&mine).await? {
                sleep(Duration::from_millis(1)).await;
            }
            let published = publish(&mine, &progress.stop).await?;
            progress.published.fetch_add(published, Ordering::SeqCst);
            progress.running.fetch_sub(1, Ordering::SeqCst);
            // Each member has each message once, whatever the threads did to each other.
            until(&audiences, || progress.is_over(&audiences)).await
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let deadline = Instant::now() + START_DEADLINE;
    while audiences.iter().any(|audience| audience.deliveries() == 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(WARM_UP);
    let (began, cpu, before) = (Instant::now(), clock::of_process(), deliveries(&audiences));
    std::thread::sleep(MEASURED);
    let (elapsed, cpu) = (began.elapsed(), clock::of_process().saturating_sub(cpu));
    let delivered = deliveries(&audiences) - before;
    let connected = handle.connection_count();
    progress.stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        join(publisher)?;
    }
    Ok(vec![
        ("publications per second", delivered as f64 / MEMBERS as f64 / elapsed.as_secs_f64()),
        ("deliveries per second", delivered as f64 / elapsed.as_secs_f64()),
        ("CPU for one delivery, µs", micros(cpu) / delivered as f64),
        ("CPU in use, cores", cpu.as_secs_f64() / elapsed.as_secs_f64()),
        ("publications altogether", progress.published.load(Ordering::SeqCst) as f64),
        ("members closed as slow", (count - connected) as f64),
    ])
}

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    running: AtomicUsize,
    published: AtomicU64,
}

impl Progress {
    /// All publishers have stopped, and all that they have published is where it belongs.
    fn is_over(&self, audiences: &[Arc<Audience>]) -> bool {
        let expected = || self.published.load(Ordering::SeqCst) * MEMBERS as u64;
        self.running.load(Ordering::SeqCst) == 0 && deliveries(audiences) == expected()
    }
}

fn deliveries(audiences: &[Arc<Audience>]) -> u64 {
    audiences.iter().map(|audience| audience.deliveries()).sum()
}

#[derive(Clone, Copy)]
struct Circle {
    count: usize,
    stride: usize,
}

fn name(number: usize) -> String {
    format!("group/{number}")
}

async fn member(
    mut websocket: WebSocket,
    Path(number): Path<usize>,
    State(Circle { count, stride }): State<Circle>,
    groups: Groups,
) -> nexios::Result {
    websocket.accept().await?;
    for place in 0..MEMBERS {
        groups.group(name((number + place * stride) % count)).join(&websocket).await?;
    }
    loop {
        websocket.receive().await?;
    }
}

async fn every_member_is_in(groups: &[Group]) -> Result<bool> {
    for group in groups {
        if group.len().await? < MEMBERS {
            return Ok(false);
        }
    }
    Ok(true)
}

/// To one group after the other. Nothing here waits: the runtime's budget lets the members' tasks have their turns.
async fn publish(groups: &[Group], stop: &AtomicBool) -> Result<u64> {
    let mut published = 0;
    for group in groups.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
        group.send_text(Utf8Bytes::from_static(TEXT)).await?;
        published += 1;
    }
    Ok(published)
}
