//! Groups whose members agreed on different things.

use nexios::prelude::*;
use nexios::{Compression, WebSocketRoute};

use super::payload::{inflate_alone, noise, prose};
use super::peer::{OFFER, Peer, config};
use crate::serving::{Running, serve};

async fn join(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("all").join(&websocket).await?;
    websocket.send_text("joined").await?;
    loop {
        // A member's own messages go to itself alone.
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

fn app() -> App {
    let route = |path: &str, compression| WebSocketRoute::new(path, join).config(config(compression));
    App::new()
        .add_ws_route(route("/off", Compression::off()))
        .add_ws_route(route("/shared", Compression::shared()))
        .add_ws_route(route("/dedicated", Compression::dedicated()))
        .add_ws_route(route("/all", Compression::shared().threshold(0).level(9)))
}

/// Each setting twice, and once more with a small window; clients that offer nothing; other thresholds and levels.
const MEMBERS: [(&str, &str); 13] = [
    ("/off", OFFER),
    ("/off", "x-none"),
    ("/shared", OFFER),
    ("/shared", OFFER),
    ("/shared", "x-none"),
    ("/shared", "permessage-deflate; server_max_window_bits=9"),
    ("/dedicated", OFFER),
    ("/dedicated", OFFER),
    ("/dedicated", "permessage-deflate; server_max_window_bits=9"),
    ("/dedicated", "permessage-deflate; server_max_window_bits=12"),
    ("/dedicated", "permessage-deflate; server_no_context_takeover"),
    ("/all", OFFER),
    ("/all", OFFER),
];

type Member = Peer<tokio::net::TcpStream>;

async fn members(server: &Running) -> Vec<Member> {
    let mut members = Vec::new();
    for (path, offer) in MEMBERS {
        let wire = crate::wire::Wire::connect(server.address).await;
        let mut peer = Peer::upgrade(wire, path, offer).await;
        assert_eq!(peer.message().await.payload, b"joined");
        members.push(peer);
    }
    members
}

fn has_agreed(member: &Member) -> bool {
    member.answer.is_some()
}

#[tokio::test]
async fn members_of_every_setting_get_every_message() {
    let app = app();
    let group = app.groups().group("all");
    let server = serve(app).await;
    let mut members = members(&server).await;
    for len in [0, 20, 1023, 1024, 1500, 4096, 5000, 3000, 70_000] {
        group.send_text(prose(len)).await.unwrap();
        group.send_bytes(noise(len as u64, len)).await.unwrap();
        for (member, (path, offer)) in members.iter_mut().zip(MEMBERS) {
            let text = member.message().await;
            assert!(text.payload == prose(len).as_bytes(), "{len} bytes, {path}, {offer}");
            let is_long_enough = len >= 1024 || path == "/all" && len > 100;
            assert_eq!(text.compressed, has_agreed(member) && is_long_enough, "{len} bytes, {path}, {offer}");
            let binary = member.message().await;
            assert!(!binary.compressed && binary.payload == noise(len as u64, len));
        }
    }
}

#[tokio::test]
async fn members_that_agreed_on_the_same_get_the_same_bytes() {
    let app = app();
    let group = app.groups().group("all");
    let server = serve(app).await;
    let mut members = members(&server).await;
    for round in 0..3 {
        let message = format!("{round}{}", prose(3000));
        group.send_text(message.clone()).await.unwrap();
        let mut frames = Vec::new();
        for member in &mut members {
            frames.push(member.message().await.on_wire);
        }
        for (a, b) in [(2, 3), (6, 7), (2, 6), (2, 10), (5, 8), (11, 12), (0, 1), (0, 4)] {
            assert!(frames[a] == frames[b], "{:?} and {:?} differ", MEMBERS[a], MEMBERS[b]);
        }
        assert!(frames[2] != frames[5] && frames[8] != frames[9], "windows of different sizes");
        // What many share cannot refer to what only one of them has seen.
        for frame in &frames[2..4] {
            assert_eq!(inflate_alone(frame).unwrap(), message.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_members_own_window_goes_on_after_a_broadcast() {
    let app = app();
    let group = app.groups().group("all");
    let server = serve(app).await;
    let mut members = members(&server).await;
    for round in 0..20 {
        let (own, shared) = (format!("own {round} {}", prose(2000)), format!("shared {round} {}", prose(2000)));
        for _ in 0..round % 3 {
            group.send_text(shared.clone()).await.unwrap();
        }
        for member in &mut members {
            member.wire.send(crate::wire::text(&own)).await;
        }
        for member in &mut members {
            for expected in std::iter::repeat_n(&shared, round % 3).chain([&own]) {
                let message = member.message().await;
                assert!(message.payload == expected.as_bytes());
                assert_eq!(message.compressed, has_agreed(member));
            }
        }
    }
}

#[tokio::test]
async fn send_uncompressed_reaches_every_member_plain() {
    let app = app();
    let group = app.groups().group("all");
    let server = serve(app).await;
    let mut members = members(&server).await;
    group.send_uncompressed(prose(3000)).await.unwrap();
    group.send_text(prose(3000)).await.unwrap();
    for member in &mut members {
        member.message().await.assert_plain(&prose(3000));
        assert_eq!(member.message().await.compressed, has_agreed(member));
    }
}
