//! The opening handshake over HTTP/2, and ordinary requests beside it.

use std::sync::{Arc, Mutex};

use http::{Method, Request};
use nexios::prelude::*;

use super::client::{Http2, handshake, with_body};
use crate::certificates::Certificates;
use crate::programs::echo;
use crate::serving::{Running, serve, within};
use crate::wire::text;

fn app() -> App {
    let http =
        axum::Router::new().route("/marker", axum::routing::any(async |body: String| format!("the marker{body}")));
    App::new().websocket_route("/ws", echo).http(http)
}

async fn start(app: App) -> (Running, Certificates, Http2) {
    let certificates = Certificates::new();
    let server = serve(app.tls(certificates.tls())).await;
    let client = Http2::tls(server.address, &certificates).await;
    (server, certificates, client)
}

#[tokio::test]
async fn an_extended_connect_is_answered_with_200_and_is_a_websocket() {
    let (_server, _certificates, mut client) = start(app()).await;
    let (response, stream) = client.open(handshake("/ws", &[])).await;
    assert_eq!(response.status(), 200);
    for name in ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-extensions"] {
        assert!(!response.headers().contains_key(name), "{response:?}");
    }
    let mut wire = crate::wire::Wire::new(stream);
    wire.send(text("hello")).await;
    assert_eq!(wire.text().await, "hello");
}

#[tokio::test]
async fn subprotocols_headers_and_compression_are_agreed_on_as_ever() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        let accept = Accept::new().subprotocol("v1").header("x-server", "one");
        websocket.accept_with(accept).await?;
        let message = websocket.receive().await?;
        websocket.send(message).await
    }
    let app = App::new().websocket_route("/ws", handler).config(Config::new().compression(Compression::shared()));
    let (_server, _certificates, mut client) = start(app).await;
    let headers = [("sec-websocket-protocol", "v2, v1"), ("sec-websocket-extensions", "permessage-deflate")];
    let (response, stream) = client.open(handshake("/ws", &headers)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "v1");
    assert_eq!(response.headers()["x-server"], "one");
    assert!(response.headers()["sec-websocket-extensions"].to_str().unwrap().starts_with("permessage-deflate"));
    let mut wire = crate::wire::Wire::new(stream);
    wire.send(text(&"again and ".repeat(1_000))).await;
    let frame = wire.frame().await.unwrap();
    assert!(frame.compressed && frame.payload.len() < 200, "{frame:?}");
}

#[tokio::test]
async fn a_handler_sees_the_request_as_over_http_1() {
    let seen = Arc::new(Mutex::new(None));
    let notes = Arc::clone(&seen);
    let handler = async move |mut websocket: WebSocket| {
        let host = websocket.headers().get_all("host").iter().map(|host| host.to_str().unwrap().to_owned());
        let before = (
            websocket.uri().to_string(),
            host.collect::<Vec<_>>(),
            websocket.query_params().get("x").map(str::to_owned),
        );
        websocket.accept().await?;
        let host = websocket.headers()["host"].to_str().unwrap().to_owned();
        *notes.lock().unwrap() = Some((before, websocket.uri().to_string(), host, websocket.peer_addr()));
        Ok::<_, Error>(())
    };
    let (_server, _certificates, mut client) = start(App::new().websocket_route("/ws/{room}", handler)).await;
    let mut wire = client.upgrade("/ws/a%20b?x=1").await;
    assert_eq!(wire.close_frame().await.0, 1000);
    let (before, uri, host, peer) = seen.lock().unwrap().take().unwrap();
    assert_eq!(before, ("/ws/a%20b?x=1".to_owned(), vec!["localhost".to_owned()], Some("1".to_owned())));
    assert_eq!((uri.as_str(), host.as_str()), ("/ws/a%20b?x=1", "localhost"));
    assert!(peer.is_some());
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_and_the_connection_goes_on() {
    let (_server, _certificates, mut client) = start(app()).await;
    let mut no_protocol = handshake("/ws", &[]);
    no_protocol.extensions_mut().clear();
    *no_protocol.uri_mut() = "localhost:443".parse().unwrap();
    let mut other_protocol = handshake("/ws", &[]);
    other_protocol.extensions_mut().insert(h2::ext::Protocol::from_static("connect-udp"));
    let mut version = handshake("/ws", &[]);
    version.headers_mut().insert("sec-websocket-version", "8".parse().unwrap());
    let mut no_version = handshake("/ws", &[]);
    no_version.headers_mut().clear();
    let post = Request::post("https://localhost/ws").body(()).unwrap();
    let get = Request::get("https://localhost/ws").body(()).unwrap();
    let cases = [
        (no_protocol, 404),
        (other_protocol, 501),
        (version, 400),
        (no_version, 400),
        (handshake("/ws", &[("host", "elsewhere")]), 400),
        (handshake("/nowhere", &[]), 404),
        (post, 400),
        (get, 400),
    ];
    for (request, status) in cases {
        let what = format!("{request:?}");
        let (response, _sending) = client.send(request, false).await;
        let response = with_body(within(response).await.unwrap()).await;
        assert_eq!(response.status(), status, "{what}");
        assert!(!response.headers().contains_key("connection"), "{response:?}");
    }
    let mut wire = client.upgrade("/ws").await;
    wire.send(text("hello")).await;
    assert_eq!(wire.text().await, "hello");
}

#[tokio::test]
async fn a_handler_may_refuse() {
    async fn closes(mut websocket: WebSocket) -> nexios::Result {
        websocket.close(1008, "").await
    }
    async fn rejects(mut websocket: WebSocket) -> nexios::Result {
        websocket.reject((StatusCode::UNAUTHORIZED, [("connection", "close"), ("x-why", "token")], "who?")).await
    }
    async fn forgets(_: WebSocket) -> nexios::Result {
        Ok(())
    }
    let app = App::new();
    let app =
        app.websocket_route("/close", closes).websocket_route("/reject", rejects).websocket_route("/forget", forgets);
    let (_server, _certificates, mut client) = start(app).await;
    for (path, status) in [("/close", 403), ("/reject", 401), ("/forget", 403)] {
        let (response, _sending) = client.send(handshake(path, &[]), false).await;
        let response = with_body(within(response).await.unwrap()).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(!response.headers().contains_key("connection"), "{response:?}");
        if status == 401 {
            assert_eq!((response.headers()["x-why"].as_bytes(), response.body().as_str()), (&b"token"[..], "who?"));
        }
    }
}

#[tokio::test]
async fn ordinary_requests_share_the_connection_with_sockets() {
    let (_server, _certificates, mut client) = start(app()).await;
    let mut wire = client.upgrade("/ws").await;
    let response = client.get("/marker").await;
    assert_eq!((response.status().as_u16(), response.body().as_str()), (200, "the marker"));
    let post = Request::builder().method(Method::POST).uri("https://localhost/marker").body(()).unwrap();
    let (response, mut body) = client.send(post, false).await;
    body.send_data(" of all".into(), true).unwrap();
    assert_eq!(with_body(within(response).await.unwrap()).await.body(), "the marker of all");
    assert_eq!(client.get("/nowhere").await.status(), 404);
    wire.send(text("hello")).await;
    assert_eq!(wire.text().await, "hello");
}

#[tokio::test]
async fn a_head_that_is_too_large_or_has_too_many_lines_is_answered_with_431() {
    let (_server, _certificates, mut client) = start(app()).await;
    for (name, value, lines) in [("x", "y", 200), ("x", &*"y".repeat(1_000), 70)] {
        let mut request = Request::get("https://localhost/marker");
        for _ in 0..lines {
            request = request.header(name, value);
        }
        let (response, _) = client.send(request.body(()).unwrap(), true).await;
        assert_eq!(within(response).await.unwrap().status(), 431, "{lines} lines");
    }
    assert_eq!(client.get("/marker").await.status(), 200);
}

#[tokio::test]
async fn a_page_must_be_of_its_own_origin_with_cookies_and_without() {
    let (_server, _certificates, mut client) = start(app()).await;
    let request = handshake("/ws", &[]);
    let own = format!("https://{}", request.uri().authority().unwrap());
    for (origin, status) in [(own.as_str(), 200), ("https://evil.example", 403), ("null", 403)] {
        let (response, _stream) = client.open(handshake("/ws", &[("cookie", "a=b"), ("origin", origin)])).await;
        assert_eq!(response.status(), status, "{origin}");
    }
    let (response, _stream) = client.open(handshake("/ws", &[("origin", "https://evil.example")])).await;
    assert_eq!(response.status(), 403, "without cookies");
}

#[tokio::test]
async fn each_of_its_sockets_counts_as_a_connection() {
    // One of them is the TCP connection itself.
    let config = nexios::ServerConfig::new().connections(3);
    let (server, _certificates, mut client) = start(app().server_config(config)).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let (response, stream) = client.open(handshake("/ws", &[])).await;
        assert_eq!(response.status(), 200);
        open.push(stream);
    }
    let (response, _) = client.open(handshake("/ws", &[])).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
    open.pop();
    server.wait_for_connections(1).await;
    let (response, _stream) = client.open(handshake("/ws", &[])).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn the_authority_is_the_host_that_is_answered_to_or_not() {
    let (_server, _certificates, mut client) = start(app().hosts(["app.example"])).await;
    let ask = |authority: &str| Request::get(format!("https://{authority}/marker")).body(()).unwrap();
    for (authority, expected) in
        [("app.example", 200), ("APP.example:8443", 200), ("evil.example", 403), ("localhost", 403)]
    {
        let (response, _) = client.send(ask(authority), true).await;
        assert_eq!(response.await.unwrap().status(), expected, "{authority}");
    }
    let (response, _stream) = client.open(handshake("/ws", &[])).await;
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn on_loopback_the_authority_is_this_machines_own() {
    let (_server, _certificates, mut client) = start(app()).await;
    for (authority, expected) in
        [("localhost", 200), ("127.0.0.1:8000", 200), ("evil.example", 403), ("user@localhost", 400)]
    {
        let request = Request::get(format!("https://{authority}/marker")).body(()).unwrap();
        let (response, _) = client.send(request, true).await;
        assert_eq!(response.await.unwrap().status(), expected, "{authority}");
    }
    let request = Request::get("https://localhost/marker").header("host", "evil.example").body(()).unwrap();
    let (response, _) = client.send(request, true).await;
    assert_eq!(response.await.unwrap().status(), 400, "two that differ");
}
