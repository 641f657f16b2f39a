//! Which hosts a server answers to, and which requests name none.

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{ClientIp, ServerConfig};
use tokio::net::TcpListener;
use tracing::Level;

use crate::logs::Logs;
use crate::programs::echo;
use crate::serving::{Running, serve};
use crate::wire::{Wire, request};

fn app() -> App {
    App::new()
        .websocket_route("/ws", echo)
        .http(axum::Router::new().route("/page", axum::routing::get(async || "page")))
}

/// The status of a handshake that names this host, and that of a page's request.
async fn answers(server: &Running, host: &str) -> [u16; 2] {
    let mut wire = Wire::connect(server.address).await;
    wire.send(request("/ws", &[]).replace("Host: localhost", &format!("Host: {host}"))).await;
    let handshake = wire.head().await.status;
    [handshake, page(server, "/page", host).await]
}

async fn page(server: &Running, target: &str, host: &str) -> u16 {
    let mut wire = Wire::connect(server.address).await;
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    wire.head().await.status
}

#[tokio::test]
async fn a_server_on_loopback_answers_to_this_machines_own_hosts() {
    let server = serve(app()).await;
    for host in
        ["localhost", "LOCALHOST:8000", "app.localhost", "127.0.0.1:80", "127.8.9.1", "[::1]:8000", "localhost."]
    {
        assert_eq!(answers(&server, host).await, [101, 200], "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8000",
        "evillocalhost",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0",
    ] {
        assert_eq!(answers(&server, host).await, [403, 403], "{host}");
    }
}

#[tokio::test]
async fn a_page_whose_name_was_made_to_lead_here_is_refused_and_runs_no_handler() {
    let app = App::new()
        .websocket_route("/ws", async |_: WebSocket| -> nexios::Result { panic!("it is not to run") })
        .http(axum::Router::new().route("/page", axum::routing::get(async || -> &'static str { panic!("nor this") })));
    let server = serve(app).await;
    let (logs, _guard) = Logs::capture();
    let mut wire = Wire::connect(server.address).await;
    let headers = ["Origin: http://evil.example:8000", "Cookie: a=1"];
    wire.send(request("/ws", &headers).replace("Host: localhost", "Host: evil.example:8000")).await;
    let head = wire.head().await;
    assert_eq!(head.status, 403, "{}", head.text);
    assert!(head.text.contains("connection: close"), "{}", head.text);
    assert_eq!(page(&server, "/page", "evil.example:8000").await, 403);
    let lines = logs.at(Level::WARN);
    assert!(lines.iter().any(|line| line.contains("App::hosts") && line.contains("trusted_proxies")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("evil.example:8000")), "{lines:?}");
}

#[tokio::test]
async fn a_list_stands_in_place_of_what_is_known() {
    let server = serve(app().hosts(["app.example", "*.below.example", "port.example:8443"])).await;
    for (host, expected) in [
        ("app.example", [101, 200]),
        ("APP.example:99", [101, 200]),
        ("a.b.below.example", [101, 200]),
        ("port.example:8443", [101, 200]),
        ("port.example", [403, 403]),
        ("below.example", [403, 403]),
        ("localhost", [403, 403]),
        ("127.0.0.1", [403, 403]),
    ] {
        assert_eq!(answers(&server, host).await, expected, "{host}");
    }
    assert_eq!(answers(&serve(app().hosts(["*"])).await, "any.example").await, [101, 200]);
}

#[tokio::test]
async fn behind_a_trusted_proxy_and_on_other_addresses_every_host_is_answered_to() {
    let behind = serve(app().server_config(ServerConfig::new().trusted_proxies(["127.0.0.1"]))).await;
    assert_eq!(answers(&behind, "app.example").await, [101, 200]);
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into();
    let app = app();
    let handle = app.handle();
    let public = Running { address, handle, serving: tokio::spawn(app.serve(listener)) };
    assert_eq!(answers(&public, "app.example").await, [101, 200]);
}

#[tokio::test]
async fn an_absolute_targets_authority_is_the_host_for_everybody() {
    let host = async |headers: HeaderMap| headers["host"].to_str().unwrap().to_owned();
    let app = app().http(axum::Router::new().route("/host", axum::routing::get(host)));
    let server = serve(app.hosts(["real.example", "other.example"])).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET http://real.example/host HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.ends_with("real.example"), "{answer}");
    assert_eq!(page(&server, "http://evil.example/page", "real.example").await, 403);
    for (origin, expected) in [("http://real.example", 101), ("http://other.example", 403)] {
        let mut wire = Wire::connect(server.address).await;
        let origin = format!("Origin: {origin}");
        let request = request("http://real.example/ws", &[&origin]).replace("Host: localhost", "Host: other.example");
        wire.send(request).await;
        assert_eq!(wire.head().await.status, expected, "{origin}");
    }
}

#[tokio::test]
async fn by_default_an_absolute_target_is_nobodys_rebound_name() {
    let server = serve(app()).await;
    assert_eq!(page(&server, "http://real.example/page", "real.example").await, 200);
}

#[tokio::test]
async fn what_is_no_host_is_answered_with_400() {
    for server in [serve(app()).await, serve(app().hosts(["*"])).await] {
        for host in
            ["a b", "a/b", "user@localhost", "localhost:99999", "localhost:x", "[::1", "[localhost]", "loc\"alhost", ""]
        {
            assert_eq!(answers(&server, host).await, [400, 400], "{host}");
        }
        assert_eq!(page(&server, "http://user@localhost/page", "localhost").await, 400);
        assert_eq!(page(&server, "/page", "localhost\r\nHost: localhost").await, 400);
    }
}

#[tokio::test]
async fn a_test_client_is_let_in_and_may_name_other_hosts() {
    let client = TestClient::new(app().hosts(["app.example"]));
    client.connect("/ws").await.unwrap();
    assert_eq!(client.get("/page").await.unwrap().status(), 200);
    let request = |host| http::Request::get("/page").header("host", host).body(axum::body::Body::empty()).unwrap();
    assert_eq!(client.http(request("app.example")).await.unwrap().status(), 200);
    assert_eq!(client.http(request("evil.example")).await.unwrap().status(), 403);
    let client = TestClient::new(app());
    assert_eq!(client.http(request("any.example")).await.unwrap().status(), 200);
}

/// An app that axum's own server accepts for.
async fn mounted(app: App) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, handle) = (listener.local_addr().unwrap(), app.handle());
    let router: axum::Router = app.into_router();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.map_err(Error::from) });
    Running { address, handle, serving }
}

#[tokio::test]
async fn where_an_app_is_mounted_its_list_holds_and_without_one_there_is_none() {
    let server = mounted(app()).await;
    assert_eq!(answers(&server, "any.example").await, [101, 200]);
    assert_eq!(answers(&server, "a b").await[0], 400);
    let server = mounted(app().hosts(["app.example"])).await;
    assert_eq!(answers(&server, "app.example").await, [101, 200]);
    assert_eq!(answers(&server, "evil.example").await, [403, 403]);
}

#[test]
#[should_panic(expected = "\"https://app.example\" is no host")]
fn a_list_with_what_is_no_host_is_a_mistake_of_the_program() {
    let _ = App::new().hosts(["https://app.example"]);
}

// ---- addresses

#[tokio::test]
async fn a_proxy_is_trusted_however_its_address_is_written() {
    let whoami = async |ClientIp(address): ClientIp| address.to_string();
    for proxy in ["127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104", "::ffff:7f00:1"] {
        let app = App::new().http(axum::Router::new().route("/whoami", axum::routing::get(whoami)));
        let app = app.server_config(ServerConfig::new().trusted_proxies([proxy]));
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let address: std::net::SocketAddr = ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into();
        tokio::spawn(app.serve(listener));
        let mut wire = Wire::connect(address).await;
        let headers = "Host: localhost\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n";
        wire.send(format!("GET /whoami HTTP/1.1\r\n{headers}")).await;
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(answer.ends_with("203.0.113.7"), "{proxy}: {answer}");
    }
}

#[tokio::test]
async fn a_mapped_loopback_address_is_a_loopback_address() {
    let listener = TcpListener::bind("[::ffff:127.0.0.1]:0").await.unwrap();
    let address = ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into();
    let app = app().server_config(ServerConfig::new());
    let handle = app.handle();
    let server = Running { address, handle, serving: tokio::spawn(app.serve(listener)) };
    assert_eq!(answers(&server, "localhost").await, [101, 200]);
    assert_eq!(answers(&server, "evil.example").await, [403, 403]);
}

#[tokio::test]
async fn a_forwarding_header_of_a_stranger_is_logged_once_with_the_setting() {
    let server = serve(app()).await;
    let (logs, _guard) = Logs::capture();
    let forwarded = async |header: &str| {
        let mut wire = Wire::connect(server.address).await;
        wire.send(format!("GET /page HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n")).await;
        assert_eq!(wire.head().await.status, 200);
    };
    forwarded("Accept: */*").await;
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
    for header in ["X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7", "X-Forwarded-Proto: https"] {
        forwarded(header).await;
    }
    let lines = logs.at(Level::WARN);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ServerConfig::trusted_proxies([\"127.0.0.1\"])"), "{lines:?}");
}
