//! 100,000 members of one group: memory, and the time for them to join, to have a message, and to leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios::prelude::*;
use nexios::testing::TestClient;

use super::audience::{Audience, InProcess, until};
use super::clock::{self, micros, millis};
use super::worker::{join, on_core};
use super::{Figures, TEXT};
use crate::table::median;
use crate::{Error, Result};

const MEMBERS: usize = 100_000;
const CLIENTS: usize = 10_000;
const PUBLICATIONS: usize = 20;

/// Members who are spread over so many threads, or connections in no group, for comparison.
pub(super) fn run(threads: usize, group: Option<&'static str>) -> Result<Figures> {
    let app = App::with_state(Room(group)).websocket_route("/member/{number}", member);
    let (groups, handle) = (app.groups(), app.handle());
    let router = app.into_router::<()>();
    let audiences: Vec<_> = (0..threads).map(|_| Audience::new(TEXT)).collect();
    let before = clock::memory()?;
    // The others serve for as long as the process lives.
    for (core, audience) in audiences.iter().enumerate().skip(1) {
        let listener = InProcess::new(audience, (core..MEMBERS).step_by(threads));
        let router = router.clone();
        on_core(core, || async move { Ok(axum::serve(listener, router).await?) });
    }
    let first = InProcess::new(&audiences[0], (0..MEMBERS).step_by(threads));
    join(on_core(0, move || async move {
        let (began, cpu) = (Instant::now(), clock::of_process());
        tokio::spawn(async { axum::serve(first, router).await });
        let group = group.map(|name| groups.group(name));
        let everybody_is_in = async || -> Result<bool> {
            Ok(match &group {
                Some(group) => group.len().await? == MEMBERS,
                None => handle.connection_count() == MEMBERS,
            })
        };
        while !everybody_is_in().await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut figures = vec![
            ("seconds to connect and to join", began.elapsed().as_secs_f64()),
            ("CPU for connecting and joining, µs each", each(clock::of_process().saturating_sub(cpu), MEMBERS)),
            ("resident bytes per member", (clock::memory()? - before) / MEMBERS as f64),
        ];
        if let Some(group) = &group {
            figures.extend(publish(group, &audiences).await?);
        }
        figures.push(("resident bytes per member, after publications", (clock::memory()? - before) / MEMBERS as f64));
        let began = Instant::now();
        for audience in &audiences {
            audience.leave();
        }
        let gone = until(&audiences, || handle.connection_count() == 0 && groups.is_empty()).await?;
        figures.push(("seconds for all to leave", (gone - began).as_secs_f64()));
        figures.push(("resident bytes per member, when they have left", (clock::memory()? - before) / MEMBERS as f64));
        Ok(figures)
    }))
}

#[derive(Clone, Copy)]
struct Room(Option<&'static str>);

async fn member(mut websocket: WebSocket, State(Room(group)): State<Room>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    if let Some(group) = group {
        groups.group(group).join(&websocket).await?;
    }
    loop {
        websocket.receive().await?;
    }
}

/// One after the other, each when all members have the one before.
async fn publish(group: &Group, audiences: &[Arc<Audience>]) -> Result<Figures> {
    let (mut sends, mut ends, mut arrivals) = (Vec::new(), Vec::new(), Vec::new());
    let (start, cpu) = (Instant::now(), clock::of_process());
    for publication in 1..=PUBLICATIONS {
        let began = Instant::now();
        group.send_text(Utf8Bytes::from_static(TEXT)).await?;
        let sent = Instant::now();
        // Its turn comes right behind what was put off, before the members' own tasks.
        let end = tokio::spawn(async { Instant::now() }).await?;
        let expected = (publication * MEMBERS) as u64;
        let all = until(audiences, || audiences.iter().map(|of| of.deliveries()).sum::<u64>() >= expected).await?;
        sends.push(micros(sent - began));
        ends.push(millis(end - sent));
        arrivals.push(millis(all - began));
    }
    let deliveries = PUBLICATIONS * MEMBERS;
    Ok(vec![
        ("the publisher goes on after, µs", median(&mut sends)),
        ("distributing at the end of the tick, ms", median(&mut ends)),
        ("until the last member has it, ms", median(&mut arrivals)),
        ("deliveries per second", deliveries as f64 / start.elapsed().as_secs_f64()),
        ("CPU for one delivery, µs", each(clock::of_process().saturating_sub(cpu), deliveries)),
    ])
}

/// The same with clients: what a test or a simulation costs.
pub(super) fn test_clients() -> Result<Figures> {
    join(on_core(0, || async {
        let app = App::with_state(Room(Some("everybody"))).websocket_route("/member/{number}", member);
        let groups = app.groups();
        let client = TestClient::new(app);
        let (before, began) = (clock::memory()?, Instant::now());
        let mut members = Vec::with_capacity(CLIENTS);
        for number in 0..CLIENTS {
            members.push(client.connect(&format!("/member/{number}")).await?);
        }
        let group = groups.group("everybody");
        if group.len().await? != CLIENTS {
            return Err(Error::from("a member is missing"));
        }
        let joined = began.elapsed();
        let bytes = clock::memory()? - before;
        let began = Instant::now();
        group.send_text(Utf8Bytes::from_static(TEXT)).await?;
        for member in &mut members {
            member.receive_text().await?;
        }
        Ok(vec![
            ("connecting and joining, µs each", each(joined, CLIENTS)),
            ("resident bytes per member, its client included", bytes / CLIENTS as f64),
            ("until the last client has a message, ms", millis(began.elapsed())),
            ("resident bytes per member, after it", (clock::memory()? - before) / CLIENTS as f64),
        ])
    }))
}

fn each(time: Duration, of: usize) -> f64 {
    micros(time) / of as f64
}
