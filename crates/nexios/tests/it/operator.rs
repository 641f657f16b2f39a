//! Pages for the operator: where they are, and who sees them.

use std::net::SocketAddr;
use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{AppHandle, Rate, ServerConfig};
use tokio::net::TcpListener;
use tracing::Level;

use crate::logs::Logs;
use crate::serving::{Running, pause, serve, within};
use crate::wire::{Wire, upgrade_request};

async fn wait(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    websocket.receive().await.map(drop)
}

fn app() -> App {
    let app = App::new().websocket_route("/ws", wait).health_checks();
    #[cfg(feature = "metrics")]
    let app = app.metrics("/metrics");
    app
}

async fn get_with(address: SocketAddr, path: &str, host: &str, headers: &str) -> (u16, String) {
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")).await;
    let head = within(wire.head()).await;
    (head.status, String::from_utf8(within(wire.rest()).await).unwrap())
}

async fn get(address: SocketAddr, path: &str) -> u16 {
    get_with(address, path, "localhost", "").await.0
}

async fn operator(handle: &AppHandle) -> SocketAddr {
    for _ in 0..500 {
        if let Some(address) = handle.operator_addr() {
            return address;
        }
        pause(10).await;
    }
    panic!("nobody listens for the operator");
}

/// A server that is reached over an address which is not this machine's own, as far as it knows.
async fn public(app: App) -> Running {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into();
    let handle = app.handle();
    Running { address, handle, serving: tokio::spawn(app.serve(listener)) }
}

#[tokio::test]
async fn with_an_address_of_their_own_the_public_has_none_of_the_operators_pages() {
    let server = serve(app().operator("127.0.0.1:0")).await;
    let own = operator(&server.handle).await;
    assert_eq!(get(server.address, "/healthz").await, 200);
    assert_eq!(get(server.address, "/readyz").await, 404);
    assert_eq!(get(server.address, "/metrics").await, 404);
    assert_eq!(get(own, "/healthz").await, 200);
    assert_eq!(get(own, "/readyz").await, 200);
    #[cfg(feature = "metrics")]
    assert_eq!(get(own, "/metrics").await, 200);
    assert_eq!(get(own, "/ws").await, 404);
    assert_eq!(get_with(own, "/readyz", "evil.example", "").await.0, 403);
    assert_eq!(get_with(own, "/readyz", "a b", "").await.0, 400);
}

#[tokio::test]
async fn the_operators_pages_are_there_until_the_end_of_the_drain() {
    async fn busy(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        let _ = websocket.receive().await;
        pause(600).await;
        Ok(())
    }
    let server = serve(App::new().websocket_route("/ws", busy).operator("127.0.0.1:0")).await;
    let own = operator(&server.handle).await;
    let socket = server.upgrade("/ws").await;
    assert_eq!(get(own, "/readyz").await, 200);
    server.handle.shutdown();
    pause(200).await;
    assert_eq!(get_with(own, "/readyz", "localhost", "").await, (503, "shutting down\n".to_owned()));
    drop(socket);
    within(server.serving).await.unwrap().unwrap();
    let gone = within(tokio::net::TcpStream::connect(own)).await;
    assert!(gone.is_err(), "it listens after its end");
}

#[tokio::test]
async fn the_operators_pages_are_there_when_the_publics_listener_is_full() {
    let config = ServerConfig::new().connections(1).accept_rate(Rate::per_second(0).burst(1));
    let server = serve(app().operator("127.0.0.1:0").server_config(config)).await;
    let own = operator(&server.handle).await;
    let _socket = server.upgrade("/ws").await;
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
    }
    assert_eq!(get(own, "/readyz").await, 200);
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_an_error_of_serving() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = app().operator(taken.local_addr().unwrap());
    let error = within(app.serve(listener)).await.unwrap_err().to_string();
    assert!(error.contains("for the operator"), "{error}");
}

#[tokio::test]
async fn without_an_address_the_pages_are_for_this_machine_only() {
    for server in [serve(app()).await, public(app()).await] {
        assert_eq!(get(server.address, "/readyz").await, 200);
        #[cfg(feature = "metrics")]
        assert_eq!(get(server.address, "/metrics").await, 200);
        for header in
            ["X-Forwarded-For: 203.0.113.7\r\n", "Forwarded: for=203.0.113.7\r\n", "X-Forwarded-For: 127.0.0.1\r\n"]
        {
            for page in ["/readyz", "/metrics"] {
                if cfg!(feature = "metrics") || page == "/readyz" {
                    assert_eq!(get_with(server.address, page, "localhost", header).await.0, 403, "{page} {header}");
                }
            }
            assert_eq!(get_with(server.address, "/healthz", "localhost", header).await.0, 200, "{header}");
        }
    }
    // A page whose name was made to lead to this machine is a guest.
    let server = public(app()).await;
    assert_eq!(get_with(server.address, "/readyz", "evil.example", "").await.0, 403);
    assert_eq!(get_with(server.address, "/healthz", "evil.example", "").await.0, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_client_counts() {
    let server = serve(app().server_config(ServerConfig::new().trusted_proxies(["127.0.0.1"]))).await;
    let of = async |client: &str| {
        get_with(server.address, "/readyz", "localhost", &format!("X-Forwarded-For: {client}\r\n")).await.0
    };
    assert_eq!(of("203.0.113.7").await, 403);
    assert_eq!(of("127.0.0.1, 203.0.113.7").await, 403);
    assert_eq!(get(server.address, "/readyz").await, 200);
}

#[tokio::test]
async fn a_refusal_names_the_setting_in_the_log_and_nothing_of_the_page() {
    let server = serve(app()).await;
    let (logs, _guard) = Logs::capture();
    let (status, text) = get_with(server.address, "/readyz", "localhost", "X-Forwarded-For: 203.0.113.7\r\n").await;
    assert_eq!((status, &*text), (403, "this page is for the operator\n"));
    let lines = logs.at(Level::WARN);
    assert!(lines.iter().any(|line| line.contains("App::operator")), "{lines:?}");
}

#[tokio::test]
async fn where_the_server_does_not_tell_who_asks_readiness_is_answered_and_metrics_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router: axum::Router = app().into_router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    assert_eq!(get(address, "/healthz").await, 200);
    assert_eq!(get(address, "/readyz").await, 200);
    #[cfg(feature = "metrics")]
    assert_eq!(get(address, "/metrics").await, 403);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router: axum::Router = app().into_router();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    #[cfg(feature = "metrics")]
    assert_eq!(get(address, "/metrics").await, 200);
    assert_eq!(get_with(address, "/readyz", "localhost", "X-Forwarded-For: 203.0.113.7\r\n").await.0, 403);
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_test_client_sees_the_operators_pages() {
    let client = TestClient::new(app());
    for page in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(client.get(page).await.unwrap().status(), 200, "{page}");
    }
}

// ---- liveness

#[tokio::test]
async fn a_process_is_alive_under_any_accept_rate_and_when_it_is_full() {
    let rate = ServerConfig::new().accept_rate(Rate::per_second(0).burst(2));
    let full = ServerConfig::new().connections(2);
    for config in [rate, full] {
        let server = serve(app().server_config(config)).await;
        let _sockets = [server.upgrade("/ws").await, server.upgrade("/ws").await];
        let mut silent = Vec::new();
        for _ in 0..30 {
            silent.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
        }
        for _ in 0..5 {
            assert_eq!(get_with(server.address, "/healthz", "localhost", "").await, (200, "ok\n".to_owned()));
        }
        // Nobody else gets in for it.
        let mut wire = Wire::connect(server.address).await;
        wire.send(upgrade_request("/ws")).await;
        assert_eq!(within(wire.head()).await.status, 503);
    }
}

#[tokio::test]
async fn a_flood_of_refused_connections_does_not_hide_a_probe() {
    let server = serve(app().server_config(ServerConfig::new().accept_rate(Rate::per_second(0).burst(0)))).await;
    let mut silent = Vec::new();
    for n in 0..600 {
        silent.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
        if n % 100 == 99 {
            assert_eq!(get(server.address, "/healthz").await, 200);
        }
    }
}

#[tokio::test]
async fn whoever_is_refused_and_asks_for_nothing_is_told_all_the_same() {
    let server = serve(app().server_config(ServerConfig::new().accept_rate(Rate::per_second(0).burst(0)))).await;
    let mut wire = Wire::connect(server.address).await;
    let head = tokio::time::timeout(Duration::from_secs(3), wire.head()).await.unwrap();
    assert_eq!(head.status, 503, "{}", head.text);
}
