//! Pings of the server, and peers that do not answer.

use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::outcome::ending;
use crate::serving::{pause, pipe};
use crate::wire::{PING, PONG, frame, text};

type Endings = mpsc::UnboundedReceiver<(WebSocketDisconnect, Duration)>;

/// An app that receives until the end, and tells the end with the time that it took.
fn watched(config: Config) -> (App, Endings) {
    let (seen, see) = mpsc::unbounded_channel();
    let handler = async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        let began = Instant::now();
        loop {
            if let Err(error) = websocket.receive().await {
                seen.send((ending::<()>(Err(error)), began.elapsed())).unwrap();
                return Ok(());
            }
        }
    };
    (App::new().config(config).websocket_route("/ws", handler), see)
}

#[track_caller]
fn about(expected: f64, actual: Duration) {
    let actual = actual.as_secs_f64();
    // Deadlines are kept to 50 ms each.
    assert!((expected - 0.2..expected + 0.2).contains(&actual), "{actual} s instead of {expected} s");
}

/// In seconds: after a half to a whole interval.
#[track_caller]
fn first_ping(interval: f64, actual: Duration) -> f64 {
    let actual = actual.as_secs_f64();
    assert!((interval / 2.0..interval + 0.2).contains(&actual), "{actual} s of {interval} s");
    actual
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_is_pinged_within_20_s_and_given_up_20_s_later() {
    let (app, mut see) = watched(Config::default());
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let began = Instant::now();
    let ping = wire.read_frame().await.unwrap();
    assert_eq!(ping.opcode, PING);
    let first = first_ping(20.0, began.elapsed());
    let (end, after) = see.recv().await.unwrap();
    about(first + 20.0, after);
    assert_eq!((end.cause(), end.ended_by()), (Cause::KeepaliveTimeout, EndedBy::Local));
    assert!(!end.is_normal());
    assert!(end.to_string().contains("keepalive"), "{end}");
    // The connection is really over.
    while let Some(frame) = wire.read_frame().await {
        assert_eq!(frame.into_close().0, 1011);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_stays_for_ever() {
    let (app, mut see) = watched(Config::default());
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let began = Instant::now();
    let mut first = None;
    for i in 0..100 {
        let ping = wire.read_frame().await.unwrap();
        assert_eq!(ping.opcode, PING);
        let first = *first.get_or_insert_with(|| first_ping(20.0, began.elapsed()));
        about(first + 20.0 * f64::from(i), began.elapsed());
        pause(19_000).await;
        wire.send(frame(PONG, ping.payload)).await;
    }
    assert!(see.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn any_byte_of_the_peer_counts_as_an_answer() {
    let (app, mut see) = watched(Config::default());
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    for _ in 0..10 {
        assert_eq!(wire.read_frame().await.unwrap().opcode, PING);
        wire.send(text("no pong, but alive")).await;
    }
    assert!(see.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn interval_and_timeout_are_settings() {
    let config = Config::new().ping_interval(Duration::from_secs(5)).ping_timeout(Duration::from_secs(2));
    let (app, mut see) = watched(config);
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let began = Instant::now();
    assert_eq!(wire.read_frame().await.unwrap().opcode, PING);
    let first = first_ping(5.0, began.elapsed());
    let (end, after) = see.recv().await.unwrap();
    about(first + 2.0, after);
    assert_eq!(end.cause(), Cause::KeepaliveTimeout);
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_nobody_is_pinged_or_given_up() {
    let (app, mut see) = watched(Config::new().ping_interval(None));
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    assert!(tokio::time::timeout(Duration::from_hours(1), wire.read_frame()).await.is_err());
    assert!(see.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_test_clients_connection_lives_for_hours() {
    let (app, mut see) = watched(Config::default());
    let client = TestClient::new(app);
    let websocket = client.connect("/ws").await.unwrap();
    pause(3 * 3600 * 1000).await;
    assert!(see.try_recv().is_err());
    assert!(websocket.sender().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_timeout_ends_a_handler_that_only_sends() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let (mut wire, _) =
        pipe(App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            loop {
                pause(1_000).await;
                if let Err(error) = websocket.send_text("tick").await {
                    seen.send(ending::<()>(Err(error)).cause()).unwrap();
                    return Ok(());
                }
            }
        }));
    wire.handshake("/ws").await;
    assert_eq!(see.recv().await.unwrap(), Cause::KeepaliveTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_slow_to_receive_is_not_mistaken_for_a_dead_peer() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let (mut wire, _) =
        pipe(App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            // Far more waits than is read ahead: the peer's pongs are behind it.
            pause(300_000).await;
            let mut received = 0;
            while received < 100 {
                websocket.receive().await?;
                received += 1;
            }
            seen.send(received).unwrap();
            Ok(())
        }));
    wire.handshake("/ws").await;
    for _ in 0..100 {
        wire.send(text(&"x".repeat(2_000))).await;
    }
    assert_eq!(see.recv().await.unwrap(), 100);
}
