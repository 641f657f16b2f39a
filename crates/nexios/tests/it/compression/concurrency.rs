//! Handler, senders on other threads and broadcasts at once: whoever inflates must find every message whole.

use std::collections::HashMap;
use std::time::Duration;

use nexios::prelude::*;
use nexios::{Compression, WebSocketRoute};
use tokio::net::TcpStream;

use super::payload::{noise, prose};
use super::peer::{OFFER, Peer, config};
use crate::serving::serve;
use crate::wire::Wire;

const EACH: usize = 700;
const SOURCES: [&str; 6] = ["handler", "sender-1", "sender-2", "sender-3", "group-1", "group-2"];

/// Message `n` of a source: mostly around the threshold, some of it noise, always the same.
fn message(source: &str, n: usize) -> String {
    let seed = n as u64 * 31 + source.len() as u64 + u64::from(source.as_bytes()[source.len() - 1]);
    let mut random = fastrand::Rng::with_seed(seed);
    let len = match random.u8(..20) {
        0 => random.usize(..50),
        1 => random.usize(..20_000),
        _ => random.usize(900..1200),
    };
    let body = if random.u8(..8) == 0 {
        String::from_utf8_lossy(&noise(seed, len / 3)).into_owned()
    } else {
        let from = random.usize(..500);
        prose(from + len).split_off(from)
    };
    format!("{source} {n} {body}")
}

async fn many_at_once(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let group = websocket.groups().group("all");
    group.join(&websocket).await?;
    // All members hear the broadcasts of all from here on.
    websocket.receive().await?;
    for source in &SOURCES[1..4] {
        let sender = websocket.sender();
        tokio::spawn(async move {
            for n in 0..EACH {
                sender.ready().await?;
                sender.send_text(message(source, n)).await?;
            }
            Ok::<_, Error>(())
        });
    }
    for n in 0..EACH {
        websocket.send_text(message(SOURCES[0], n)).await?;
    }
    websocket.receive().await.map(|_| ())
}

/// Reads everything that was sent to one member; returns how much of it came compressed.
async fn check(mut peer: Peer<TcpStream>) -> usize {
    let mut next: HashMap<String, usize> = HashMap::new();
    let mut compressed = 0;
    for _ in 0..EACH * SOURCES.len() {
        let received = peer.read_message().await;
        let text = String::from_utf8(received.payload).unwrap();
        let source = text.split(' ').next().unwrap();
        let n = next.entry(source.to_owned()).or_default();
        assert!(text == message(source, *n), "{source} {n} changed: {text:.40}");
        *n += 1;
        compressed += usize::from(received.compressed);
    }
    assert!(SOURCES.iter().all(|source| next[*source] == EACH), "{next:?}");
    compressed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_many_send_at_once_arrives_whole_and_in_each_ones_order() {
    let queue = 256 * 1024 * 1024;
    let route = |path: &str, compression| {
        WebSocketRoute::new(path, many_at_once).config(config(compression).outbound_queue(queue))
    };
    let app = App::new()
        .add_ws_route(route("/dedicated", Compression::dedicated()))
        .add_ws_route(route("/small", Compression::dedicated().window_bits(9).level(1)))
        .add_ws_route(route("/shared", Compression::shared()));
    let group = app.groups().group("all");
    let server = serve(app).await;
    let mut peers: Vec<Peer<TcpStream>> = Vec::new();
    for path in ["/dedicated", "/dedicated", "/small", "/shared"] {
        peers.push(Peer::upgrade(Wire::connect(server.address).await, path, OFFER).await);
    }
    while group.len().await.unwrap() < peers.len() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut checks = Vec::new();
    for mut peer in peers {
        peer.wire.send(crate::wire::text("go")).await;
        checks.push(tokio::spawn(check(peer)));
    }
    for source in &SOURCES[4..] {
        let group = group.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                group.send_text(message(source, n)).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    for check in checks {
        let compressed = tokio::time::timeout(Duration::from_mins(1), check).await.expect("messages are missing");
        let compressed = compressed.unwrap();
        assert!(compressed > EACH, "{compressed} of {} came compressed", EACH * SOURCES.len());
    }
}
