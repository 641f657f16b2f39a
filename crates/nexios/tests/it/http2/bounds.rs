//! What a peer may let a server wait for, hold and do over HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use nexios::prelude::*;
use nexios::{MinDataRate, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Http2, handshake, with_body};
use crate::certificates::{Certificates, TLS_1_3, connect};
use crate::data_rate::{pages, quick};
use crate::programs::echo;
use crate::serving::{Running, pause, serve, within};
use crate::wire::text;

async fn server(config: ServerConfig) -> (Running, Certificates) {
    let certificates = Certificates::new();
    let large = axum::routing::get(async || "x".repeat(200_000));
    let app = App::new().http(pages().route("/large", large)).websocket_route("/ws", echo);
    (serve(app.server_config(config).tls(certificates.tls())).await, certificates)
}

/// A connection whose streams' windows begin with so many bytes.
async fn with_window(server: &Running, certificates: &Certificates, bytes: u32) -> h2::client::SendRequest<Bytes> {
    let stream = connect(server.address, certificates.client(TLS_1_3, &["h2"])).await.unwrap();
    let (requests, connection) = h2::client::Builder::new().initial_window_size(bytes).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

#[tokio::test]
async fn an_answer_that_the_peers_window_does_not_take_is_reset_and_its_neighbour_goes_on() {
    let (server, certificates) = server(quick()).await;
    for window in [0, 1] {
        let mut requests = with_window(&server, &certificates, window).await;
        let began = Instant::now();
        let (response, _) = requests.send_request(get("/large"), true).unwrap();
        let mut body = within(response).await.unwrap().into_body();
        let error = within(async {
            loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("that is not all of it"),
                }
            }
        })
        .await;
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        assert!(began.elapsed() >= Duration::from_millis(400));
        let (response, _) = requests.clone().send_request(get("/events"), true).unwrap();
        assert_eq!(within(response).await.unwrap().status(), 200, "the connection is still there");
    }
}

#[tokio::test]
async fn answers_arrive_whole_whatever_the_window_and_an_event_stream_may_be_silent() {
    let (server, certificates) = server(quick()).await;
    for window in [1_000, 65_535, 1 << 20] {
        let mut requests = with_window(&server, &certificates, window).await;
        let (response, _) = requests.send_request(get("/large"), true).unwrap();
        let mut body = within(response).await.unwrap().into_body();
        let mut length = 0;
        while let Some(data) = within(body.data()).await {
            let data = data.unwrap();
            length += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert_eq!(length, 200_000);
    }
    let mut client = Http2::tls(server.address, &certificates).await;
    assert_eq!(client.get("/events").await.body(), "event\nevent\nevent\n");
    assert_eq!(client.get("/page").await.headers()["content-length"], "4");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408_and_its_neighbour_goes_on() {
    let (server, certificates) = server(quick()).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let mut neighbour = client.upgrade("/ws").await;
    let request = Request::post("https://localhost/length").body(()).unwrap();
    let (response, mut sending) = client.send(request, false).await;
    sending.send_data(Bytes::from_static(b"x"), false).unwrap();
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(with_body(response).await.body(), "the request's body comes too slowly\n");
    neighbour.send(text("still here")).await;
    assert_eq!(neighbour.text().await, "still here");
}

#[tokio::test]
async fn heads_by_hpack_are_counted_at_their_full_size() {
    let (server, certificates) = server(ServerConfig::new().buffered_bytes(64 * 1024)).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let value = "z".repeat(3_000);
    let lines: Vec<_> = (0..4).map(|_| ("x", value.as_str())).collect();
    let mut kept = Vec::new();
    let refused = loop {
        let (response, stream) = client.open(handshake("/ws", &lines)).await;
        if response.status() != 200 {
            break response;
        }
        kept.push(stream);
        assert!(kept.len() < 10);
    };
    assert_eq!((refused.status().as_u16(), kept.len()), (503, 5));
    drop(kept);
    server.wait_for_connections(0).await;
    let (response, _stream) = client.open(handshake("/ws", &lines)).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn bodies_that_nobody_reads_are_part_of_the_budget() {
    // The handler does not read for a while; h2 takes what its windows allow.
    let config = ServerConfig::new().buffered_bytes(256 * 1024).min_request_rate(None);
    let (server, certificates) = server(config).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let mut sending = Vec::new();
    for _ in 0..16 {
        let request = Request::post("https://localhost/later").body(()).unwrap();
        let (response, mut body) = client.send(request, false).await;
        let _ = body.send_data(Bytes::from(vec![7; 60 * 1024]), false);
        sending.push((response, body));
    }
    let ended = within(client.connection).await.unwrap();
    assert!(ended.is_err(), "16 bodies of 60 KiB are more than 256 KiB");
    let mut another = Http2::tls(server.address, &certificates).await;
    assert_eq!(another.get("/page").await.body(), "page");
}

/// A frame's header (RFC 9113 §4.1) and payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// How many of these frames a connection may send, in the midst of others' work, until it is ended.
async fn flood(server: &Running, certificates: &Certificates, frame: &[u8], most: usize) -> usize {
    let mut stream = connect(server.address, certificates.client(TLS_1_3, &["h2"])).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let ended = tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while reading.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let mut sent = 0;
    while sent < most && !ended.is_finished() {
        if writing.write_all(&frame.repeat(50)).await.is_err() || writing.flush().await.is_err() {
            break;
        }
        sent += 50;
        pause(1).await;
    }
    if sent < most {
        return sent;
    }
    assert!(!ended.is_finished());
    sent
}

#[tokio::test]
async fn a_connection_that_sends_control_frames_without_end_is_ended() {
    let (server, certificates) = server(ServerConfig::new()).await;
    for (name, frame) in [
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("PING", frame(6, 0, 0, b"12345678")),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xfa, 0, 0, b"?")),
    ] {
        let sent = flood(&server, &certificates, &frame, 50_000).await;
        assert!(sent < 50_000, "{sent} {name} frames were taken");
    }
}

#[tokio::test]
async fn a_few_hundred_control_frames_are_no_flood() {
    let (server, certificates) = server(ServerConfig::new()).await;
    for frame in [frame(6, 0, 0, b"12345678"), frame(2, 0, 1, &[0, 0, 0, 0, 16]), frame(8, 0, 0, &[0, 0, 0, 1])] {
        assert_eq!(flood(&server, &certificates, &frame, 500).await, 500);
    }
}

#[tokio::test]
async fn a_download_with_many_window_updates_is_no_flood() {
    let rate = MinDataRate::per_second(240);
    let (server, certificates) = server(ServerConfig::new().min_response_rate(rate)).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let (response, _) = client.send(get("/endless"), true).await;
    let mut body = within(response).await.unwrap().into_body();
    let (mut taken, mut releases) = (0, 0);
    while taken < 64 << 20 {
        let data = within(body.data()).await.unwrap().unwrap();
        taken += data.len();
        releases += 1;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(releases > 2_000, "{releases}");
}
