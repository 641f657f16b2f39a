//! Those who behave. What goes wrong for one of them is a complaint.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexios::{Config, Error, Position, WebSocket};
use tokio::task::JoinSet;

use super::{Town, again, pause, within};
use crate::Result;

/// Names of the clients in the report.
pub(super) const KINDS: &[&str] = &[
    "stays in a room",
    "comes and goes",
    "publishes to a room",
    "asks for an echo",
    "feeds the firehose",
    "all come back",
];

/// Rooms that are never empty.
const ROOMS: u32 = 10;
/// Rooms that come and go.
const PASSING: u32 = 500;
/// Time for which a client stays before it resumes its position.
const STAY: Duration = Duration::from_secs(45);

/// Where somebody was in a room, for whoever comes next.
type Places = Arc<Mutex<Vec<Option<Position>>>>;

pub(super) fn spawn(town: &Arc<Town>, all: &mut JoinSet<()>) {
    let places: Places = Arc::new(Mutex::new(vec![None; PASSING as usize]));
    for room in 0..ROOMS {
        again(all, town, KINDS[0], 5, move |town| stay(town, room));
        again(all, town, KINDS[2], 1, move |town| publish(town, room));
    }
    again(all, town, KINDS[1], 20, move |town| come_and_go(town, Arc::clone(&places)));
    again(all, town, KINDS[3], 4, ask);
    again(all, town, KINDS[4], 1, feed);
    again(all, town, KINDS[5], 1, come_back_together);
}

/// Hears a room without a gap or a double, and comes back to it without one.
async fn stay(town: Arc<Town>, room: u32) -> Result {
    let mut since: Option<Position> = None;
    while !town.is_over() {
        let told = since.map(|position| position.to_string()).unwrap_or_default();
        let path = format!("/room/{room}?user=stayer{room}&since={told}");
        let mut websocket = connect(&town, &path).await?;
        let until = Instant::now() + STAY + Duration::from_millis(fastrand::u64(..5_000));
        let mut begins = since;
        while Instant::now() < until && !town.is_over() {
            let text = match within(20, "a room", websocket.receive_text()).await {
                // Those who publish have gone already.
                Err(_) if town.is_over() => break,
                text => text?,
            };
            let Some(position) = position(&text) else { return Err(format!("no position: {text}").into()) };
            if text.starts_with(r#"{"recovered""#) {
                if since.is_some() && !text.starts_with(r#"{"recovered":true"#) {
                    return Err(format!("back at {since:?} and not recovered: {text}").into());
                }
                begins = begins.or(Some(position));
                continue;
            }
            // What was missed comes before the answer.
            if begins.is_some_and(|last| position.offset() != last.offset() + 1) {
                return Err(format!("a gap: {position} behind {begins:?}").into());
            }
            begins = Some(position);
        }
        since = begins;
        leave(websocket).await;
    }
    Ok(())
}

/// The first position that a text tells.
fn position(text: &str) -> Option<Position> {
    text.split_once(r#""position":""#)?.1.split_once('"')?.0.parse().ok()
}

/// A client that visits a room for a moment, where somebody has been before, or not.
async fn come_and_go(town: Arc<Town>, places: Places) -> Result {
    let room = fastrand::u32(..PASSING);
    let since = places.lock().unwrap_or_else(PoisonError::into_inner)[room as usize];
    let told = since.filter(|_| fastrand::bool()).map(|position| position.to_string()).unwrap_or_default();
    let path = format!("/room/passing{room}?user=u{}&since={told}", fastrand::u32(..1_000));
    let mut websocket = connect(&town, &path).await?;
    for _ in 0..fastrand::u8(1..6) {
        websocket.send_text("x".repeat(fastrand::usize(1..3_000))).await?;
        let text = within(20, "a passing room", websocket.receive_text()).await?;
        if let Some(position) = position(&text) {
            places.lock().unwrap_or_else(PoisonError::into_inner)[room as usize] = Some(position);
        }
        pause(40).await;
    }
    leave(websocket).await;
    pause(100).await;
    Ok(())
}

/// Publishes to the members of a room.
async fn publish(town: Arc<Town>, room: u32) -> Result {
    let mut websocket = connect(&town, &format!("/room/{room}?user=publisher")).await?;
    for _ in 0..fastrand::u32(50..500) {
        if town.is_over() {
            break;
        }
        websocket.send_text("y".repeat(fastrand::usize(1..1_000))).await?;
        // Its own comes back, and what others said before.
        within(20, "the publisher's room", websocket.receive_text()).await?;
        pause(100).await;
    }
    leave(websocket).await;
    Ok(())
}

/// Measures the time of a reply under load.
async fn ask(town: Arc<Town>) -> Result {
    let mut websocket = connect(&town, "/echo").await?;
    for _ in 0..200 {
        if town.is_over() {
            break;
        }
        let asked = Instant::now();
        websocket.send_text("how long?").await?;
        within(20, "an echo", websocket.receive_text()).await?;
        town.latencies.lock().unwrap_or_else(PoisonError::into_inner).record(asked.elapsed());
        pause(100).await;
    }
    leave(websocket).await;
    Ok(())
}

/// More than a slow reader takes.
async fn feed(town: Arc<Town>) -> Result {
    let mut websocket = connect(&town, "/firehose").await?;
    for _ in 0..600 {
        if town.is_over() {
            break;
        }
        websocket.send_bytes(vec![7; 32 * 1024]).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    leave(websocket).await;
    Ok(())
}

/// Two hundred who lose their network at once, and all come back.
async fn come_back_together(town: Arc<Town>) -> Result {
    let mut crowd = JoinSet::new();
    for _ in 0..200 {
        let town = Arc::clone(&town);
        crowd.spawn(async move { connect(&town, "/echo").await });
    }
    let mut here = Vec::new();
    while let Some(connected) = crowd.join_next().await {
        here.push(connected??);
    }
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until && !town.is_over() {
        pause(1_000).await;
    }
    Ok(())
}

async fn connect(town: &Town, path: &str) -> Result<WebSocket> {
    let connect = nexios::client::Connect::new(town.url(path)).config(Config::new().outbound_queue(256 * 1024));
    within(20, "connecting", connect.connect()).await
}

/// One of the ways to go.
async fn leave(mut websocket: WebSocket) {
    if fastrand::bool() {
        // The other side may have been faster.
        let _: std::result::Result<(), Error> = websocket.close(1000, "").await;
    }
}
