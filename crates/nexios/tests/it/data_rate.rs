//! Deadlines behind a request's head: for its body, for its answer, and for the next request.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use nexios::prelude::*;
use nexios::{MinDataRate, ServerConfig};
use tokio::io::AsyncReadExt;

use crate::programs::echo;
use crate::serving::{Running, pause, serve, within};
use crate::wire::{Wire, upgrade_request};

/// Of the tests' servers: short enough to wait for, long enough for a busy machine.
const GRACE: Duration = Duration::from_millis(400);

pub(crate) fn quick() -> ServerConfig {
    let rate = MinDataRate::per_second(1_000).grace(GRACE);
    ServerConfig::new().min_request_rate(rate).min_response_rate(rate)
}

pub(crate) fn pages() -> axum::Router {
    async fn later(body: Body) -> String {
        pause(3 * 400).await;
        let all = axum::body::to_bytes(body, usize::MAX).await;
        all.map_or_else(|error| error.to_string(), |all| format!("{} bytes", all.len()))
    }
    async fn events() -> Body {
        Body::from_stream(futures_util::stream::unfold(0, async |n| {
            pause(if n == 0 { 0 } else { 3 * 400 }).await;
            (n < 3).then_some((Ok::<_, Infallible>("event\n"), n + 1))
        }))
    }
    async fn endless() -> Body {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, Infallible>(piece.clone())))
    }
    axum::Router::new()
        .route("/page", get(async || "page"))
        .route("/length", post(async |body: Bytes| format!("{} bytes", body.len())))
        .route("/later", post(later))
        .route("/events", get(events))
        .route("/endless", get(endless))
}

async fn server(config: ServerConfig) -> Running {
    serve(App::new().http(pages()).websocket_route("/ws", echo).server_config(config)).await
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post_request(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

async fn rest(wire: &mut Wire) -> String {
    String::from_utf8(wire.rest().await).unwrap()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408_and_the_connection_closed() {
    let server = server(quick()).await;
    let chunked = "POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123";
    for request in [post_request("/length", 1_000), chunked.to_owned()] {
        let began = Instant::now();
        let mut wire = Wire::connect(server.address).await;
        wire.send(request).await;
        let answer = rest(&mut wire).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer:?}");
        assert!(began.elapsed() >= GRACE);
    }
}

#[tokio::test]
async fn a_body_below_the_rate_is_late_however_often_a_byte_comes_and_one_above_it_is_not() {
    let server = server(quick()).await;
    for (piece, status) in [("x", "408"), ("0123456789012345678901234567890123456789", "200")] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(post_request("/length", 50 * piece.len())).await;
        for _ in 0..50 {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, piece.as_bytes()).await;
            pause(20).await;
        }
        let head = wire.head().await;
        assert_eq!(head.status.to_string(), status, "{}", head.text);
    }
}

#[tokio::test]
async fn a_body_that_the_application_does_not_read_yet_is_not_late() {
    let server = server(quick()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(post_request("/later", 300_000)).await;
    wire.send(vec![b'x'; 300_000]).await;
    assert_eq!(wire.head().await.status, 200);
    wire.body("300000 bytes").await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_cut() {
    let server = server(quick()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(get_request("/endless")).await;
    // The socket is full at once; what was taken buys time, a minute at the most.
    let received = tokio::time::timeout(Duration::from_secs(2), async {
        pause(1_000).await;
        wire.stream.read_u8().await
    });
    assert!(received.await.unwrap().is_ok());
    let config = ServerConfig::new().min_response_rate(MinDataRate::per_second(u32::MAX).grace(GRACE));
    let server = self::server(config).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(get_request("/endless")).await;
    pause(1_500).await;
    let mut all = Vec::new();
    within(async {
        // Whether it ends or is reset is the kernel's choice.
        let _ = wire.stream.read_to_end(&mut all).await;
    })
    .await;
    assert!(!all.ends_with(b"0\r\n\r\n"), "the answer has no end");
}

#[tokio::test]
async fn an_application_that_has_nothing_to_send_is_no_slow_reader() {
    let server = server(quick()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(get_request("/events")).await;
    assert_eq!(wire.head().await.status, 200);
    wire.body("6\r\nevent\n\r\n6\r\nevent\n\r\n6\r\nevent\n\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn half_a_head_behind_a_request_has_the_deadline_of_a_head_once_that_is_answered() {
    let app = App::new().http(pages()).config(Config::new().handshake_timeout(Duration::from_millis(300)));
    let server = serve(app).await;
    let half = "GET /page HTTP/1.1\r\nHost: te";
    let chunked = "POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n";
    for first in [
        get_request("/page"),
        format!("{}{}", get_request("/page"), get_request("/page")),
        format!("{}xy", post_request("/length", 2)),
        chunked.to_owned(),
    ] {
        let began = Instant::now();
        let mut wire = Wire::connect(server.address).await;
        wire.send(format!("{first}{half}")).await;
        let answers = rest(&mut wire).await;
        assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("HTTP/1.1 408 "), "{first:?}: {answers:?}");
        assert!(began.elapsed() < Duration::from_secs(3));
        // Without the half it stays open.
        let mut wire = Wire::connect(server.address).await;
        wire.send(&first).await;
        let mut answers = Vec::new();
        let open = async { while wire.stream.read_buf(&mut answers).await.unwrap() > 0 {} };
        assert!(tokio::time::timeout(Duration::from_millis(700), open).await.is_err(), "{first:?} is no half head");
    }
}

#[tokio::test]
async fn the_idle_limit_of_a_connection_can_be_set() {
    let idle = server(ServerConfig::new().keep_alive(Duration::from_millis(600))).await;
    let mut wire = Wire::connect(idle.address).await;
    for _ in 0..3 {
        wire.send(get_request("/page")).await;
        assert_eq!(wire.head().await.status, 200);
        wire.body("page").await;
        pause(200).await;
    }
    let began = Instant::now();
    assert_eq!(wire.rest().await, b"");
    assert!(began.elapsed() >= Duration::from_millis(300));

    let closing = server(ServerConfig::new().keep_alive(Duration::ZERO)).await;
    let mut wire = Wire::connect(closing.address).await;
    wire.send(get_request("/page")).await;
    let answer = rest(&mut wire).await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("page"), "{answer:?}");

    let mut wire = Wire::connect(closing.address).await;
    wire.send(upgrade_request("/ws")).await;
    let head = wire.head().await;
    assert!(head.status == 101 && !head.text.contains("close"), "{}", head.text);

    let endless = server(ServerConfig::new().keep_alive(Duration::MAX)).await;
    let mut wire = Wire::connect(endless.address).await;
    for _ in 0..2 {
        wire.send(get_request("/page")).await;
        assert_eq!(wire.head().await.status, 200);
        wire.body("page").await;
    }
}

#[tokio::test]
async fn small_chunks_of_an_answer_are_sent_when_they_are_there() {
    async fn events() -> Body {
        Body::from_stream(futures_util::stream::unfold(0, async |n| {
            pause(1).await;
            (n < 60).then(|| (Ok::<_, Infallible>(format!("event {n}\n")), n + 1))
        }))
    }
    let server = serve(App::new().http(axum::Router::new().route("/events", get(events)))).await;
    let mut wire = Wire::connect(server.address).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        let began = Instant::now();
        wire.send(get_request("/events")).await;
        assert_eq!(wire.head().await.status, 200);
        let mut all = Vec::new();
        while !all.ends_with(b"0\r\n\r\n") {
            assert!(within(wire.stream.read_buf(&mut all)).await.unwrap() > 0);
        }
        times.push(began.elapsed());
    }
    // Nagle's algorithm holds each chunk back until the one before is acknowledged, after up to 40 ms: 600 ms and more.
    assert!(times.iter().min().unwrap() < &Duration::from_millis(400), "{times:?}");
}

#[tokio::test]
async fn an_upgrade_while_the_server_goes_down_says_nothing_of_a_close() {
    async fn late(mut websocket: WebSocket) -> nexios::Result {
        pause(300).await;
        websocket.accept().await?;
        websocket.receive().await.map(drop)
    }
    let server = serve(App::new().websocket_route("/ws", late)).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws")).await;
    pause(100).await;
    server.handle.shutdown();
    let head = wire.head().await;
    assert_eq!(head.status, 101);
    assert!(head.text.contains("connection: upgrade\r\n") && !head.text.contains("close"), "{}", head.text);
    assert_eq!(wire.close_frame().await.0, 1001);
}

#[tokio::test]
async fn what_is_answered_on_a_connection_that_ends_with_the_server_says_close() {
    let server = serve(App::new().http(pages())).await;
    let mut newcomer = Wire::connect(server.address).await;
    pause(50).await;
    server.handle.shutdown();
    pause(50).await;
    newcomer.send(get_request("/page")).await;
    let answer = rest(&mut newcomer).await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("page"), "{answer:?}");
}
