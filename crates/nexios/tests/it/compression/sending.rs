//! What the server sends: compressed or plain, with a window or without.

use std::time::Duration;

use nexios::Compression;
use nexios::prelude::*;
use tokio::sync::mpsc;

use super::payload::{inflate_alone, noise, prose};
use super::peer::{Peer, config, connect, echoing};
use crate::programs::{app, echo};
use crate::serving::pipe;
use crate::wire::{BINARY, PING, PONG, frame, text};

const BOTH: [Compression; 2] = [Compression::shared(), Compression::dedicated()];

#[tokio::test]
async fn messages_are_compressed_from_1024_bytes_on() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for _ in 0..2 {
            for len in [0, 1, 1023] {
                peer.wire.send(text(&prose(len))).await;
                peer.message().await.assert_plain(&prose(len));
            }
            for len in [1024, 5000, 100_000] {
                peer.wire.send(text(&prose(len))).await;
                peer.message().await.assert_compressed(&prose(len));
            }
        }
    }
}

#[tokio::test]
async fn the_threshold_is_a_setting() {
    for compression in BOTH {
        let mut peer = echoing(compression.threshold(100)).await;
        for (len, is_compressed) in [(99, false), (100, true)] {
            peer.wire.send(text(&prose(len))).await;
            assert_eq!(peer.message().await.compressed, is_compressed);
        }
        let mut peer = echoing(compression.threshold(0)).await;
        peer.send_compressed("").await;
        peer.message().await.assert_plain("");
        peer.wire.send(text(&"a".repeat(20))).await;
        peer.message().await.assert_compressed(&"a".repeat(20));
    }
}

#[tokio::test]
async fn every_way_of_sending_compresses() {
    let program = async |mut websocket: WebSocket, groups: Groups| -> nexios::Result {
        websocket.accept().await?;
        let (sender, group) = (websocket.sender(), groups.group("all"));
        group.join(&websocket).await?;
        let message = prose(2000);
        websocket.send_text(message.clone()).await?;
        websocket.send(Message::from(message.as_str())).await?;
        websocket.send_json(&message).await?;
        sender.send_text(message.clone()).await?;
        sender.try_send(message.as_str()).map_err(Error::other)?;
        group.send_text(message.clone()).await?;
        group.send_json(&message).await?;
        websocket.send_bytes(vec![7; 2000]).await?;
        websocket.receive().await.map(|_| ())
    };
    for compression in BOTH {
        let app = App::new().config(config(compression)).websocket_route("/ws", program);
        let (mut peer, message) = (connect(app).await, prose(2000));
        let json = serde_json::to_string(&message).unwrap();
        for is_json in [false, false, true, false, false, false, true] {
            peer.message().await.assert_compressed(if is_json { &json } else { &message });
        }
        let binary = peer.message().await;
        assert_eq!((binary.opcode, binary.compressed, binary.payload), (BINARY, true, vec![7; 2000]));
    }
}

#[tokio::test]
async fn what_does_not_become_smaller_is_sent_plain() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for seed in 0..3 {
            let bytes = noise(seed, 4096);
            peer.wire.send(frame(BINARY, &bytes)).await;
            let received = peer.message().await;
            assert!(!received.compressed && received.payload == bytes);
            peer.wire.send(text(&prose(4096))).await;
            peer.message().await.assert_compressed(&prose(4096));
        }
    }
}

#[tokio::test]
async fn send_uncompressed_sends_plain() {
    let program = async |mut websocket: WebSocket, groups: Groups| -> nexios::Result {
        websocket.accept().await?;
        let (sender, group) = (websocket.sender(), groups.group("all"));
        group.join(&websocket).await?;
        for _ in 0..2 {
            websocket.send_uncompressed(prose(2000)).await?;
            websocket.send_text(prose(2000)).await?;
            sender.send_uncompressed(prose(2000)).await?;
            sender.send_text(prose(2000)).await?;
            group.send_uncompressed(prose(2000)).await?;
            group.send_text(prose(2000)).await?;
            websocket.send_uncompressed(prose(20_000)).await?;
        }
        websocket.receive().await.map(|_| ())
    };
    for compression in BOTH {
        let app = App::new().config(config(compression)).websocket_route("/ws", program);
        let mut peer = connect(app).await;
        for _ in 0..2 {
            for _ in 0..3 {
                peer.message().await.assert_plain(&prose(2000));
                peer.message().await.assert_compressed(&prose(2000));
            }
            peer.message().await.assert_plain(&prose(20_000));
        }
    }
}

#[tokio::test]
async fn with_a_shared_compressor_each_message_stands_for_itself() {
    let mut peer = echoing(Compression::shared()).await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        peer.send_compressed(&prose(2000)).await;
        let received = peer.message().await;
        assert_eq!(inflate_alone(&received.on_wire).unwrap(), prose(2000).as_bytes());
        sizes.push(received.on_wire.len());
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

#[tokio::test]
async fn with_a_dedicated_compressor_a_similar_message_becomes_much_smaller() {
    let mut peer = echoing(Compression::dedicated()).await;
    let mut sizes = Vec::new();
    for n in 0..3 {
        let message = format!("{n}{}", prose(2000));
        peer.wire.send(text(&message)).await;
        let received = peer.message().await;
        received.assert_compressed(&message);
        sizes.push(received.on_wire.len());
    }
    assert!(sizes[1] * 4 < sizes[0] && sizes[2] * 4 < sizes[0], "{sizes:?}");
}

/// How long the second of two equal messages is on the wire.
async fn second_of_two(peer: &mut Peer<tokio::net::TcpStream>) -> usize {
    let message = prose(20_000);
    peer.wire.send(text(&message)).await;
    peer.message().await.assert_compressed(&message);
    peer.wire.send(text(&message)).await;
    let second = peer.message().await;
    second.assert_compressed(&message);
    second.on_wire.len()
}

#[tokio::test]
async fn dedicated_compressors_that_would_take_too_much_give_way_to_a_shared_one() {
    let server = nexios::ServerConfig::new().buffered_bytes(1024 * 1024);
    let app = app(echo).config(config(Compression::dedicated())).server_config(server);
    let server = crate::serving::serve(app).await;
    let upgrade =
        async || Peer::upgrade(crate::wire::Wire::connect(server.address).await, "/ws", super::peer::OFFER).await;
    let (mut first, mut second) = (upgrade().await, upgrade().await);
    let own = second_of_two(&mut first).await;
    let shared = second_of_two(&mut second).await;
    assert!(own < 1_000 && shared > 3_000, "{own}, {shared}");
    drop(first);
    server.wait_for_connections(1).await;
    // There is room again.
    assert!(second_of_two(&mut second).await < 1_000);
}

#[tokio::test]
async fn a_client_that_asks_for_it_gets_each_message_by_itself_from_a_dedicated_compressor() {
    let app = app(echo).config(config(Compression::dedicated()));
    let mut peer = Peer::upgrade(pipe(app).0, "/ws", "permessage-deflate; server_no_context_takeover").await;
    for _ in 0..3 {
        peer.wire.send(text(&prose(2000))).await;
        assert_eq!(inflate_alone(&peer.message().await.on_wire).unwrap(), prose(2000).as_bytes());
    }
}

#[tokio::test]
async fn no_message_refers_to_more_than_the_agreed_window() {
    // What cannot be made smaller but for its second half, which is the first once more.
    let twice = |seed: usize, len| noise(seed as u64, len).repeat(2);
    for (bits, reach) in [(9, 200), (10, 700), (12, 3500), (15, 30_000)] {
        for compression in BOTH.map(|compression| compression.threshold(0)) {
            let app = app(echo).config(config(compression));
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let mut peer = Peer::upgrade(pipe(app).0, "/ws", &offer).await;
            for (seed, (len, is_within)) in [(reach, true), (1 << bits, false), (reach, true)].into_iter().enumerate() {
                let message = twice(seed, len);
                peer.wire.send(frame(BINARY, &message)).await;
                let received = peer.message().await;
                assert!(received.payload == message);
                assert_eq!(received.compressed, is_within, "{compression:?}, {bits} bits, {len} bytes twice");
            }
        }
    }
}

#[tokio::test]
async fn every_level_comes_back_whole() {
    for level in 1..=9 {
        for compression in BOTH {
            let mut peer = echoing(compression.level(level)).await;
            for _ in 0..2 {
                peer.send_compressed(&prose(50_000)).await;
                peer.message().await.assert_compressed(&prose(50_000));
            }
        }
    }
}

/// Answers pings until so many have come.
async fn outlast_pings(peer: &mut Peer, pings: usize) {
    for _ in 0..pings {
        let ping = peer.wire.read_frame().await.unwrap();
        assert_eq!(ping.opcode, PING);
        peer.wire.send(frame(PONG, ping.payload)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_is_freed_when_idle_if_asked() {
    for (compression, is_freed) in
        [(Compression::dedicated().free_when_idle(true), true), (Compression::dedicated(), false)]
    {
        let config = config(compression).ping_interval(Duration::from_secs(20));
        let mut peer = connect(app(echo).config(config)).await;
        for _ in 0..2 {
            peer.wire.send(text(&prose(2000))).await;
            let first = peer.read_message().await;
            first.assert_compressed(&prose(2000));
            outlast_pings(&mut peer, 1).await;
            // One interval with a message is not idle.
            peer.wire.send(text(&prose(2000))).await;
            let second = peer.read_message().await;
            assert!(second.on_wire.len() * 4 < first.on_wire.len().max(300));
            outlast_pings(&mut peer, 2).await;
            peer.wire.send(text(&prose(2000))).await;
            let third = peer.read_message().await;
            third.assert_compressed(&prose(2000));
            let stands_alone = inflate_alone(&third.on_wire).is_ok_and(|inflated| inflated == prose(2000).as_bytes());
            assert_eq!(stands_alone, is_freed, "{compression:?}");
        }
    }
}

#[tokio::test]
async fn a_message_that_found_no_room_is_not_referred_to() {
    let (got, mut get) = mpsc::unbounded_channel();
    let program = async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        got.send(websocket.sender()).unwrap();
        websocket.receive().await.map(|_| ())
    };
    let limits = config(Compression::dedicated()).outbound_queue(3000);
    let mut peer = connect(app(program).config(limits)).await;
    let sender = get.recv().await.unwrap();
    let message = |n: usize| String::from_utf8_lossy(&noise(n as u64, 1000)).into_owned();
    // Nothing is written meanwhile: the queue is full after a few.
    let taken: Vec<usize> = (0..6).filter(|n| sender.try_send(message(*n)).is_ok()).collect();
    assert!((1..6).contains(&taken.len()), "{taken:?}");
    for n in taken {
        peer.message().await.assert_compressed(&message(n));
    }
    for n in 0..6 {
        sender.try_send(message(n)).unwrap();
        peer.message().await.assert_compressed(&message(n));
    }
}
