//! The opening handshake, as requests on the wire (RFC 6455 §4.2).

use std::time::{Duration, Instant};

use nexios::prelude::*;

use crate::outcome::status;
use crate::programs::echo;
use crate::serving::{Running, pause, serve, within};
use crate::wire::{ACCEPT, KEY, TEXT, Wire, frame, request, text, upgrade_request};

fn app() -> App {
    App::new()
        .websocket_route("/ws", echo)
        .http(axum::Router::new().route("/marker", axum::routing::get(async || "the marker")))
}

async fn answer(server: &Running, request: &str) -> crate::wire::Head {
    let mut wire = Wire::connect(server.address).await;
    wire.send(request).await;
    wire.head().await
}

#[tokio::test]
async fn a_missing_route_answers_404() {
    let client = nexios::testing::TestClient::new(app());
    assert_eq!(status(client.connect("/nowhere").await), 404);
    assert_eq!(status(client.connect("/ws/below").await), 404);
    assert_eq!(client.get("/nowhere").await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_plain_get_on_a_websocket_route_answers_426_and_says_what_to_upgrade_to() {
    let server = serve(app()).await;
    let head = answer(&server, "GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(head.status, 426);
    assert!(head.text.contains("\r\nupgrade: websocket\r\n"), "{}", head.text);
    assert!(head.text.contains("\r\nsec-websocket-version: 13\r\n"), "{}", head.text);
}

#[tokio::test]
async fn other_methods_answer_405_and_name_get() {
    let server = serve(app()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let head = answer(&server, &upgrade_request("/ws").replacen("GET", method, 1)).await;
        assert_eq!(head.status, 405, "{method}");
        assert!(head.text.contains("\r\nallow: get\r\n"), "{method}: {}", head.text);
    }
}

#[tokio::test]
async fn another_version_answers_426_and_names_13() {
    let server = serve(app()).await;
    for version in ["8", "12", "14", "", "x"] {
        let line = format!("Sec-WebSocket-Version: {version}");
        let head = answer(&server, &upgrade_request("/ws").replace("Sec-WebSocket-Version: 13", &line)).await;
        assert_eq!(head.status, 426, "version {version:?}");
        assert!(head.text.contains("\r\nsec-websocket-version: 13\r\n"), "{}", head.text);
    }
}

#[tokio::test]
async fn a_malformed_handshake_answers_400() {
    let server = serve(app()).await;
    let good = upgrade_request("/ws");
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let cases = [
        ("no key", good.replace(&key, "")),
        ("a key that is no base64", good.replace(KEY, "not base64 at all, is it")),
        ("a key of 15 bytes", good.replace(KEY, "AAAAAAAAAAAAAAAAAAAA")),
        ("two keys", good.replace(&key, &key.repeat(2))),
        ("no version", good.replace("Sec-WebSocket-Version: 13\r\n", "")),
        ("connection: close", good.replace("Connection: Upgrade", "Connection: close")),
        ("no host", good.replace("Host: localhost\r\n", "")),
        ("http/1.0", good.replace("HTTP/1.1", "HTTP/1.0")),
        ("a body", request("/ws", &["Content-Length: 5"]) + "hello"),
        ("a chunked body", request("/ws", &["Transfer-Encoding: chunked"]) + "0\r\n\r\n"),
    ];
    for (what, bytes) in cases {
        assert_eq!(answer(&server, &bytes).await.status, 400, "{what}");
    }
}

#[tokio::test]
async fn headers_are_compared_as_http_does() {
    let server = serve(app()).await;
    let request = upgrade_request("/ws")
        .replace("Upgrade: websocket", "UPGRADE: foo, WebSocket")
        .replace("Connection: Upgrade", "connection: keep-alive, upgrade");
    let head = answer(&server, &request).await;
    assert_eq!(head.status, 101, "{}", head.text);
}

#[tokio::test]
async fn the_answer_proves_that_the_key_was_read() {
    let server = serve(app()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws")).await;
    let head = wire.head().await;
    assert!(head.text.contains(&format!("\r\nsec-websocket-accept: {}\r\n", ACCEPT.to_lowercase())), "{}", head.text);
    assert!(head.text.contains("\r\nupgrade: websocket\r\n"), "{}", head.text);
    assert!(head.text.contains("\r\nconnection: upgrade\r\n"), "{}", head.text);
}

#[tokio::test]
async fn nothing_behind_a_refused_handshake_is_taken_for_a_request() {
    let server = serve(app()).await;
    let refused = [
        upgrade_request("/ws").replace("Version: 13", "Version: 8"),
        request("/ws", &["Content-Length: 5"]),
        upgrade_request("/nowhere"),
        upgrade_request("/marker").replace("GET", "POST"),
    ];
    for refused in refused {
        let mut wire = Wire::connect(server.address).await;
        wire.send(refused + "GET /marker HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(!answer.contains("the marker"), "{answer}");
    }
}

#[tokio::test]
async fn a_frame_in_the_same_segment_as_the_request_is_answered() {
    let server = serve(app()).await;
    let mut wire = Wire::connect(server.address).await;
    let mut bytes = upgrade_request("/ws").into_bytes();
    bytes.extend(text("early"));
    bytes.extend(text("bird"));
    wire.send(bytes).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.text().await, "early");
    assert_eq!(wire.text().await, "bird");
}

#[tokio::test]
async fn half_a_frame_in_the_same_segment_as_the_request_is_not_lost() {
    let server = serve(app()).await;
    let mut wire = Wire::connect(server.address).await;
    let whole = frame(TEXT, "in two halves");
    let mut bytes = upgrade_request("/ws").into_bytes();
    bytes.extend(&whole[..5]);
    wire.send(bytes).await;
    assert_eq!(wire.head().await.status, 101);
    pause(20).await;
    wire.send(&whole[5..]).await;
    assert_eq!(wire.text().await, "in two halves");
}

#[tokio::test]
async fn a_frame_that_arrives_while_the_handler_decides_is_not_lost() {
    async fn slow(mut websocket: WebSocket) -> nexios::Result {
        pause(50).await;
        websocket.accept().await?;
        let message = websocket.receive().await?;
        websocket.send(message).await
    }
    let server = serve(App::new().websocket_route("/ws", slow)).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws")).await;
    pause(20).await;
    wire.send(text("impatient")).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.text().await, "impatient");
}

#[tokio::test]
async fn a_handshake_that_comes_byte_by_byte_is_understood() {
    let server = serve(app()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.stream.set_nodelay(true).unwrap();
    for byte in upgrade_request("/ws").into_bytes() {
        wire.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.head().await.status, 101);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_cut_off_at_the_deadline() {
    let app = app().config(Config::new().handshake_timeout(Duration::from_millis(200)));
    let server = serve(app).await;
    let began = Instant::now();
    let mut silent = Wire::connect(server.address).await;
    let mut slow = Wire::connect(server.address).await;
    slow.send("GET /ws HTTP/1.1\r\n").await;
    within(async {
        silent.rest().await;
        slow.rest().await;
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_deadline_of_the_handshake_is_for_the_whole_head_not_for_each_read() {
    let app = app().config(Config::new().handshake_timeout(Duration::from_millis(300)));
    let server = serve(app).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET /ws HTTP/1.1\r\n").await;
    let began = Instant::now();
    let cut = within(async {
        use tokio::io::AsyncWriteExt;
        loop {
            // Every write is soon enough after the one before it.
            pause(50).await;
            if wire.stream.write_all(b"x: y\r\n").await.is_err() {
                return;
            }
        }
    });
    cut.await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn too_many_headers_answer_431() {
    let server = serve(app()).await;
    let headers = vec!["x: y"; 5_000];
    let mut wire = Wire::connect(server.address).await;
    // The server may stop reading half-way.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, request("/ws", &headers).as_bytes()).await;
    assert_eq!(wire.head().await.status, 431);
}

#[tokio::test]
async fn many_resets_during_the_handshake_leave_the_server_as_it_was() {
    let server = serve(app()).await;
    for _ in 0..50 {
        let mut wire = Wire::connect(server.address).await;
        wire.send(&upgrade_request("/ws").as_bytes()[..40]).await;
        wire.abort();
    }
    server.wait_for_connections(0).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(text("still here")).await;
    assert_eq!(wire.text().await, "still here");
}

#[tokio::test]
async fn an_ordinary_request_and_a_handshake_can_share_a_connection() {
    let server = serve(app()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET /marker HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(wire.head().await.status, 200);
    wire.body("the marker").await;
    wire.handshake("/ws").await;
    wire.send(text("hello")).await;
    assert_eq!(wire.text().await, "hello");
}

#[tokio::test]
async fn an_extension_that_is_not_spoken_here_is_not_answered() {
    let server = serve(app()).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(request("/ws", &["Sec-WebSocket-Extensions: x-unknown; bits=9, \"broken"])).await;
    let head = wire.head().await;
    assert_eq!(head.status, 101);
    assert!(!head.text.contains("sec-websocket-extensions"), "{}", head.text);
}

#[tokio::test]
async fn a_target_in_absolute_form_finds_its_route() {
    let server = serve(app()).await;
    let head = answer(&server, &upgrade_request("http://test/ws")).await;
    assert_eq!(head.status, 101, "{}", head.text);
}
