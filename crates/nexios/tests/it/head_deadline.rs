//! The deadline for a request's head, and how a refusal arrives.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use axum::routing::get;
use nexios::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::programs::echo;
use crate::serving::{Running, pause, serve, within};
use crate::wire::{Wire, request, text, upgrade_request};

const DEADLINE: Duration = Duration::from_millis(300);

async fn server() -> Running {
    async fn slow(mut websocket: WebSocket) -> nexios::Result {
        // Its decision has a deadline of its own, which a route may set.
        tokio::time::sleep(2 * DEADLINE).await;
        websocket.accept().await?;
        websocket.send_text("at last").await
    }
    async fn stream() -> axum::body::Body {
        let pieces = futures_util::stream::unfold(0, |n: u8| async move {
            pause(50).await;
            (n < 12).then(|| (Ok::<_, Infallible>("piece"), n + 1))
        });
        axum::body::Body::from_stream(pieces)
    }
    let http = axum::Router::new().route("/marker", get(async || "the marker")).route("/stream", get(stream));
    let slow = WebSocketRoute::new("/slow", slow).config(Config::new().handshake_timeout(10 * DEADLINE));
    let app = App::new().websocket_route("/ws", echo).add_ws_route(slow).http(http);
    serve(app.config(Config::new().handshake_timeout(DEADLINE))).await
}

const MARKER: &str = "GET /marker HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What is answered to a connection that sends this and then a header every 50 ms, and when that has ended.
async fn trickle(wire: &mut Wire, first: &str) -> (String, Duration) {
    let began = Instant::now();
    wire.send(first).await;
    let mut answer = Vec::new();
    within(async {
        loop {
            tokio::select! {
                read = wire.stream.read_buf(&mut answer) => if read.expect("no reset") == 0 {
                    return;
                },
                () = pause(50) => {
                    let _ = wire.stream.write_all(b"x: y\r\n").await;
                }
            }
        }
    })
    .await;
    (String::from_utf8(answer).unwrap(), began.elapsed())
}

fn check_timeout((answer, took): (String, Duration)) {
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer:?}");
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\n"), "{answer:?}");
    assert!((DEADLINE..4 * DEADLINE).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_answered_with_408_however_often_a_line_comes() {
    let server = server().await;
    check_timeout(trickle(&mut Wire::connect(server.address).await, "GET /ws HTTP/1.1\r\n").await);
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_answered_with_408() {
    let server = server().await;
    let began = Instant::now();
    let answer = Wire::connect(server.address).await.rest().await;
    check_timeout((String::from_utf8(answer).unwrap(), began.elapsed()));
}

#[tokio::test]
async fn a_later_head_on_the_same_connection_has_the_same_deadline_from_its_first_byte_on() {
    let server = server().await;
    let mut wire = Wire::connect(server.address).await;
    for _ in 0..2 {
        wire.send(MARKER).await;
        assert_eq!(wire.head().await.status, 200);
        wire.body("the marker").await;
        // Between two requests there is no hurry.
        tokio::time::sleep(2 * DEADLINE).await;
    }
    check_timeout(trickle(&mut wire, "GET /marker HTTP/1.1\r\n").await);
}

#[tokio::test]
async fn nothing_behind_a_late_head_is_taken_for_a_request() {
    let server = server().await;
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET /marker HTTP/1.1\r\n").await;
    let head = wire.head().await;
    assert_eq!(head.status, 408);
    wire.send(format!("Host: localhost\r\n\r\n{MARKER}")).await;
    assert_eq!(wire.rest().await, b"");
}

#[tokio::test]
async fn the_applications_own_time_is_not_the_heads() {
    let server = server().await;
    let mut slow = server.upgrade("/slow").await;
    assert_eq!(slow.text().await, "at last");
    let mut stream = Wire::connect(server.address).await;
    stream.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(stream.head().await.status, 200);
    within(async {
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            assert!(stream.stream.read_buf(&mut body).await.unwrap() > 0, "cut off after {}", body.len());
        }
    })
    .await;
}

#[tokio::test]
async fn an_open_websocket_has_no_such_deadline() {
    let server = server().await;
    let mut wire = server.upgrade("/ws").await;
    tokio::time::sleep(3 * DEADLINE).await;
    wire.send(text("still here")).await;
    assert_eq!(wire.text().await, "still here");
}

/// Sends all of it, then reads to the end: a reset is no end.
async fn answer_to(server: &Running, bytes: &[u8]) -> String {
    let mut wire = Wire::connect(server.address).await;
    let (mut reading, mut writing) = wire.stream.split();
    let mut answer = Vec::new();
    let (_, read) = within(async { tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut answer)) }).await;
    assert!(read.is_ok(), "{:?} after {answer:?}", read.map_err(|error| error.kind()));
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_refusal_arrives_whole_while_the_client_is_still_sending() {
    let server = server().await;
    let long = format!("x: {}", "y".repeat(1024 * 1024));
    let answer = answer_to(&server, request("/ws", &[&long]).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    let many = vec!["x: y"; 5_000];
    let answer = answer_to(&server, request("/ws", &many).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    let refused = upgrade_request("/ws").replace("Version: 13", "Version: 8") + &"frames ".repeat(100_000);
    let answer = answer_to(&server, refused.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.ends_with("13\n"), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_sends_for_ever_after_a_refusal_is_cut_off() {
    let server = server().await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws").replace("Version: 13", "Version: 8")).await;
    let began = Instant::now();
    let error = within(async {
        loop {
            if let Err(error) = wire.stream.write_all(&[b'x'; 1024]).await {
                return error;
            }
            pause(20).await;
        }
    })
    .await;
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
