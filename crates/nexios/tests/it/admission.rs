//! Who gets in.

use nexios::prelude::*;
use nexios::{Limit, Rate, ServerConfig};
use tokio::net::TcpStream;

use crate::outcome::{refusal, status};
use crate::programs::echo;
use crate::serving::{Running, pause, serve, within};
use crate::wire::{Wire, text, upgrade_request};

async fn with(config: ServerConfig) -> Running {
    let http = axum::Router::new().route("/page", axum::routing::get(async || "page"));
    serve(App::new().server_config(config).websocket_route("/ws", echo).http(http)).await
}

async fn connect(server: &Running) -> nexios::Result<WebSocket> {
    within(nexios::client::connect(server.url("/ws"))).await
}

#[tokio::test]
async fn one_connection_too_many_is_answered_with_503_and_when_to_come_back() {
    let server = with(ServerConfig::new().connections(2)).await;
    let first = connect(&server).await.unwrap();
    let mut second = connect(&server).await.unwrap();
    for _ in 0..5 {
        let response = refusal(connect(&server).await);
        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.headers()["retry-after"], "5");
    }
    second.send_text("still served").await.unwrap();
    assert_eq!(second.receive_text().await.unwrap(), "still served");
    drop(first);
    server.wait_for_connections(1).await;
    connect(&server).await.unwrap();
}

#[tokio::test]
async fn twice_the_limit_at_once_takes_the_limit_and_no_more() {
    let server = with(ServerConfig::new().connections(20)).await;
    let mut all = Vec::new();
    for _ in 0..40 {
        let mut wire = Wire::connect(server.address).await;
        // Who is refused may have been cut off already.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, upgrade_request("/ws").as_bytes()).await;
        all.push(wire);
    }
    let mut taken = Vec::new();
    for mut wire in all {
        let head = wire.head().await;
        match head.status {
            101 => taken.push(wire),
            status => assert_eq!(status, 503, "{}", head.text),
        }
    }
    assert_eq!(taken.len(), 20);
    for wire in &mut taken {
        wire.send(text("x")).await;
        assert_eq!(wire.frame().await.unwrap().payload, b"x");
    }
}

#[tokio::test]
async fn connections_of_http_count_as_long_as_they_are_open() {
    let server = with(ServerConfig::new().connections(1)).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    pause(50).await;
    assert_eq!(status(connect(&server).await), 503);
    drop(idle);
    pause(50).await;
    connect(&server).await.unwrap();
}

#[tokio::test]
async fn a_full_server_still_answers_plain_http() {
    let server = with(ServerConfig::new().connections(1)).await;
    let _first = connect(&server).await.unwrap();
    for _ in 0..3 {
        let mut wire = Wire::connect(server.address).await;
        wire.send("GET /page HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(wire.head().await.status, 200);
    }
}

#[tokio::test]
async fn beyond_the_reserve_a_socket_is_answered_before_it_asks() {
    let server = with(ServerConfig::new().connections(1)).await;
    let mut all = Vec::new();
    for _ in 0..17 {
        all.push(Wire::connect(server.address).await);
    }
    pause(50).await;
    let mut wire = Wire::connect(server.address).await;
    let head = wire.head().await;
    assert_eq!(head.status, 503, "{}", head.text);
    assert!(head.text.contains("retry-after: 5"), "{}", head.text);
    drop(all);
    pause(50).await;
    connect(&server).await.unwrap();
}

#[tokio::test]
async fn one_address_has_its_own_limit() {
    let server = with(ServerConfig::new().connections_per_address(2)).await;
    let _first = connect(&server).await.unwrap();
    let _second = connect(&server).await.unwrap();
    assert_eq!(status(connect(&server).await), 429);
    // Another of loopback's addresses.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut other = Wire::new(socket.connect(server.address).await.unwrap());
    other.handshake("/ws").await;
}

#[tokio::test]
async fn an_address_gets_its_place_back_however_a_connection_ends() {
    let server = with(ServerConfig::new().connections_per_address(1)).await;
    for way in 0..4 {
        let mut wire = Wire::connect(server.address).await;
        match way {
            0 => wire.handshake("/ws").await,
            1 => wire.send("GET /page HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await,
            2 => wire.send(upgrade_request("/nowhere")).await,
            _ => {}
        }
        pause(20).await;
        if way % 2 == 0 {
            wire.abort();
        } else {
            drop(wire);
        }
        server.wait_for_connections(0).await;
        pause(20).await;
    }
    connect(&server).await.unwrap();
}

#[tokio::test]
async fn connections_have_a_rate() {
    let server = with(ServerConfig::new().accept_rate(Rate::per_second(20).burst(3))).await;
    let mut taken = 0;
    for _ in 0..6 {
        match connect(&server).await {
            Ok(_) => taken += 1,
            refused => assert_eq!(status(refused), 503),
        }
    }
    assert!((3..=5).contains(&taken), "{taken}");
    pause(200).await;
    connect(&server).await.unwrap();
}

/// An app that axum's own server accepts for.
async fn mounted(config: ServerConfig) -> (nexios::AppHandle, String) {
    let app = App::new().server_config(config).websocket_route("/ws", echo);
    let handle = app.handle();
    let router: axum::Router = app.into_router();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (handle, url)
}

#[tokio::test]
async fn the_limits_hold_where_another_server_accepts() {
    let (_, url) = mounted(ServerConfig::new().connections(1)).await;
    let first = within(nexios::client::connect(&url)).await.unwrap();
    assert_eq!(status(within(nexios::client::connect(&url)).await), 503);
    drop(first);
    pause(50).await;
    within(nexios::client::connect(&url)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_goes_down_takes_nobody_and_says_so() {
    let (handle, url) = mounted(ServerConfig::new()).await;
    let mut first = within(nexios::client::connect(&url)).await.unwrap();
    handle.shutdown();
    assert_eq!(crate::outcome::code(within(first.receive()).await), 1001);
    let response = refusal(within(nexios::client::connect(&url)).await);
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
    within(handle.drained()).await;
}

#[tokio::test]
async fn without_a_limit_there_is_none() {
    let config = ServerConfig::new().connections(Limit::Unlimited).connections_per_address(Limit::Unlimited);
    let server = with(config).await;
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(connect(&server).await.unwrap());
    }
    server.wait_for_connections(50).await;
}

// ---- rates of each address

#[tokio::test]
async fn handshakes_have_a_rate_for_each_address() {
    let config = ServerConfig::new().trusted_proxies(["127.0.0.1"]);
    let server = with(config.handshake_rate_per_address(Rate::per_second(0).burst(2))).await;
    let connect = async |client: &'static str| {
        let connect = nexios::client::Connect::new(server.url("/ws")).header("x-forwarded-for", client);
        match within(connect.connect()).await {
            Ok(_) => 101,
            refused => {
                let response = refusal(refused);
                assert_eq!(response.headers()["retry-after"], "5");
                response.status().as_u16()
            }
        }
    };
    for (client, expected) in [
        ("203.0.113.7", [101, 101, 429]),
        ("203.0.113.8", [101, 101, 429]),
        ("::ffff:203.0.113.8", [429, 429, 429]),
        ("2001:db8:0:1::1", [101, 101, 429]),
        ("2001:db8:0:1:2::9", [429, 429, 429]),
        ("2001:db8:0:2::1", [101, 101, 429]),
    ] {
        for expected in expected {
            assert_eq!(connect(client).await, expected, "{client}");
        }
    }
    // The proxy's own address is nobody's.
    for _ in 0..5 {
        within(nexios::client::connect(server.url("/ws"))).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_is_refused_too_often_is_not_listened_to() {
    let config = ServerConfig::new().refusal_rate_per_address(Rate::per_second(0).burst(3));
    let server = with(config).await;
    for _ in 0..3 {
        let foreign = nexios::client::Connect::new(server.url("/ws")).header("origin", "https://evil.example");
        assert_eq!(status(within(foreign.connect()).await), 403);
    }
    let mut wire = Wire::connect(server.address).await;
    let head = wire.head().await;
    assert_eq!(head.status, 429, "{}", head.text);
    assert!(head.text.contains("retry-after: 5"), "{}", head.text);
}

#[tokio::test]
async fn a_wrong_host_counts_as_a_refusal() {
    let config = ServerConfig::new().refusal_rate_per_address(Rate::per_second(0).burst(2));
    let server = with(config).await;
    for _ in 0..2 {
        let mut wire = Wire::connect(server.address).await;
        wire.send("GET /page HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
        assert_eq!(wire.head().await.status, 403);
    }
    assert_eq!(Wire::connect(server.address).await.head().await.status, 429);
}

#[tokio::test]
async fn messages_have_a_rate_for_all_connections_of_an_address() {
    let config = ServerConfig::new().trusted_proxies(["127.0.0.1"]);
    let server = with(config.message_rate_per_address(Rate::per_second(0).burst(10))).await;
    let connect = async |client: &'static str| {
        let connect = nexios::client::Connect::new(server.url("/ws")).header("x-forwarded-for", client);
        within(connect.connect()).await.unwrap()
    };
    let mut all = [connect("203.0.113.7").await, connect("203.0.113.7").await];
    let mut answered = 0;
    for websocket in &mut all {
        for _ in 0..8 {
            websocket.send_text("x").await.unwrap();
        }
        while let Ok(Ok(_)) =
            tokio::time::timeout(std::time::Duration::from_millis(300), websocket.receive_text()).await
        {
            answered += 1;
        }
    }
    assert!((10..=11).contains(&answered), "{answered}");
    let mut other = connect("203.0.113.8").await;
    other.send_text("x").await.unwrap();
    within(other.receive_text()).await.unwrap();
}

#[tokio::test]
async fn by_default_loopback_has_no_rate() {
    let server = with(ServerConfig::new()).await;
    for _ in 0..1_200 {
        let foreign = nexios::client::Connect::new(server.url("/ws")).header("origin", "https://evil.example");
        assert_eq!(status(within(foreign.connect()).await), 403);
    }
}
