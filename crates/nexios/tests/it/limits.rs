//! What one peer may send, how fast, and what all of them may make the server hold.

use std::time::Duration;

use nexios::prelude::*;
use nexios::{OverRate, Rate, ServerConfig};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::outcome::ending;
use crate::programs::{app, echo};
use crate::serving::{pause, pipe, serve, within};
use crate::wire::{BINARY, CLOSE, PING, PONG, Wire, frame, piece, text};

/// An app that echoes, and tells how its connections ended.
fn watched(config: Config) -> (App, mpsc::UnboundedReceiver<WebSocketDisconnect>) {
    let (seen, see) = mpsc::unbounded_channel();
    let app = app(async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        loop {
            match websocket.receive().await {
                Ok(message) => drop(websocket.send(message).await),
                Err(error) => {
                    seen.send(ending::<()>(Err(error))).unwrap();
                    return Ok(());
                }
            }
        }
    });
    (app.config(config), see)
}

// ---- rates

#[tokio::test]
async fn above_its_rate_a_peer_waits_and_loses_nothing() {
    let rate = Rate::per_second(100).burst(10);
    let (app, _see) = watched(Config::new().message_rate(rate));
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    let began = Instant::now();
    wire.send((0..60).flat_map(|i| text(&i.to_string())).collect::<Vec<_>>()).await;
    for i in 0..60 {
        assert_eq!(wire.frame().await.unwrap().payload, i.to_string().into_bytes());
    }
    // Ten at once, then one each 10 ms.
    let took = began.elapsed();
    assert!((450..2_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn above_its_rate_a_peer_is_closed_if_that_is_wanted() {
    let config = Config::new().message_rate(Rate::per_second(1).burst(5)).over_rate(OverRate::Close);
    let (app, mut see) = watched(config);
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send((0..9).flat_map(|i| text(&i.to_string())).collect::<Vec<_>>()).await;
    for i in 0..5 {
        assert_eq!(wire.frame().await.unwrap().payload, i.to_string().into_bytes());
    }
    assert_eq!(wire.close_frame().await, (4429, "rate exceeded".to_owned()));
    let end = within(see.recv()).await.unwrap();
    assert_eq!((end.cause(), end.ended_by()), (Cause::RateExceeded, EndedBy::Local));
}

#[tokio::test]
async fn pings_count_as_messages() {
    let config = Config::new().message_rate(Rate::per_second(1).burst(3)).over_rate(OverRate::Close);
    let (app, _see) = watched(config);
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send((0..5).flat_map(|_| frame(PING, b"")).collect::<Vec<_>>()).await;
    for _ in 0..3 {
        assert_eq!(wire.frame().await.unwrap().opcode, PONG);
    }
    assert_eq!(wire.close_frame().await.0, 4429);
}

#[tokio::test]
async fn bytes_have_a_rate_of_their_own_also_within_one_message() {
    let (app, _see) = watched(Config::new().byte_rate(Rate::per_second(400_000).burst(100_000)));
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    let began = Instant::now();
    wire.send(frame(BINARY, vec![7; 300_000])).await;
    assert_eq!(wire.frame().await.unwrap().payload.len(), 300_000);
    let took = began.elapsed();
    assert!((400..3_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_waits_for_its_rate_is_not_taken_for_dead() {
    let config = Config::new()
        .message_rate(Rate::per_second(0).burst(1))
        .ping_interval(Duration::from_secs(1))
        .ping_timeout(Duration::from_secs(1));
    let (app, mut see) = watched(config);
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    wire.send([text("one"), text("two")].concat()).await;
    pause(30_000).await;
    assert!(see.try_recv().is_err());
}

// ---- messages that do not end

#[tokio::test]
async fn a_message_that_is_not_completed_in_time_closes_with_4408() {
    let (app, mut see) = watched(Config::new().message_timeout(Duration::from_millis(300)));
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    let began = Instant::now();
    wire.send(piece(BINARY, false, b"begun")).await;
    // It shows that it is alive, and goes on a little.
    for _ in 0..4 {
        pause(50).await;
        wire.send([frame(PONG, b""), piece(0, false, b".")].concat()).await;
    }
    assert_eq!(wire.close_frame().await, (4408, "message timeout".to_owned()));
    assert!((250..1_500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    wire.send(frame(CLOSE, b"")).await;
    assert_eq!(within(see.recv()).await.unwrap().cause(), Cause::MessageTimeout);
}

#[tokio::test]
async fn each_message_has_its_own_time() {
    let (app, mut see) = watched(Config::new().message_timeout(Duration::from_millis(400)));
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    // Never between two messages when the server looks: the end of one comes with the beginning of the next.
    wire.send(piece(BINARY, false, b"a")).await;
    for _ in 0..10 {
        pause(100).await;
        wire.send([piece(0, true, b"b"), piece(BINARY, false, b"a")].concat()).await;
        assert_eq!(wire.frame().await.unwrap().payload, b"ab");
    }
    assert!(see.try_recv().is_err());
}

#[tokio::test]
async fn the_time_of_a_busy_handler_is_not_the_peers() {
    let (done, mut was_done) = mpsc::unbounded_channel();
    let app = app(async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        // More than it reads ahead: the peer cannot complete what it has begun.
        pause(700).await;
        for _ in 0..3 {
            websocket.receive().await?;
        }
        done.send(()).unwrap();
        Ok(())
    });
    let server = serve(app.config(Config::new().message_timeout(Duration::from_millis(250)))).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([frame(BINARY, vec![0; 70_000]), frame(BINARY, vec![0; 70_000]), piece(BINARY, false, b"x")].concat())
        .await;
    pause(600).await;
    wire.send(piece(0, true, b"y")).await;
    assert_eq!(within(was_done.recv()).await, Some(()));
}

// ---- all connections together

#[tokio::test]
async fn above_what_all_may_hold_the_one_that_holds_most_is_closed_with_1013() {
    let (app, mut see) = watched(Config::new().message_size(4 * 1024 * 1024));
    let server = serve(app.server_config(ServerConfig::new().buffered_bytes(1024 * 1024))).await;
    let mut modest = server.upgrade("/ws").await;
    modest.send(piece(BINARY, false, b"not")).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut wire = server.upgrade("/ws").await;
        wire.send(piece(BINARY, false, vec![0; 300_000])).await;
        greedy.push(wire);
    }
    pause(100).await;
    assert!(see.try_recv().is_err(), "closed below the limit");
    greedy[0].send(piece(0, false, vec![0; 300_000])).await;
    assert_eq!(greedy[0].close_frame().await, (1013, "server is overloaded".to_owned()));
    let end = within(see.recv()).await.unwrap();
    assert_eq!((end.cause(), end.ended_by()), (Cause::Overloaded, EndedBy::Local));
    // There is room again, and nobody else was touched.
    modest.send(piece(0, true, b" much")).await;
    assert_eq!(modest.frame().await.unwrap().payload, b"not much");
    for wire in &mut greedy[1..] {
        wire.send(piece(0, true, vec![0; 100_000])).await;
        assert_eq!(wire.frame().await.unwrap().payload.len(), 400_000);
    }
}

#[tokio::test]
async fn what_slow_readers_do_not_take_counts_as_held() {
    let server = ServerConfig::new().buffered_bytes(2 * 1024 * 1024);
    let config = Config::new().outbound_queue(8 * 1024 * 1024);
    let server = serve(App::new().config(config).server_config(server).websocket_route("/ws", echo)).await;
    let greedy = server.upgrade("/ws").await;
    let mut sender: Wire = server.upgrade("/ws").await;
    let big = frame(BINARY, vec![0; 500_000]);
    let mut greedy = greedy;
    let flood = async {
        for _ in 0..60 {
            if tokio::io::AsyncWriteExt::write_all(&mut greedy.stream, &big).await.is_err() {
                return;
            }
        }
    };
    // It is cut off: either its sending fails, or the socket is found closed.
    let _ = tokio::time::timeout(Duration::from_secs(5), flood).await;
    server.wait_for_connections(1).await;
    sender.send(text("still here")).await;
    assert_eq!(sender.frame().await.unwrap().payload, b"still here");
}
