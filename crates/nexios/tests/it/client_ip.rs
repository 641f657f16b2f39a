//! The address of the client, with proxies in front and without.

use std::net::{IpAddr, SocketAddr};

use nexios::client::Connect;
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{ClientIp, ProxyHeader, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::serving::serve;

/// Tells the client's address before `accept` and after it.
async fn tell(mut websocket: WebSocket) -> nexios::Result {
    let before = websocket.client_ip();
    websocket.accept().await?;
    assert_eq!(websocket.client_ip(), before);
    websocket.send_json(&before).await?;
    websocket.receive().await.map(drop)
}

fn app(config: ServerConfig) -> App {
    let whoami = async |ClientIp(address): ClientIp| address.to_string();
    let maybe = async |address: Option<ClientIp>| format!("{address:?}");
    let http =
        axum::Router::new().route("/whoami", axum::routing::get(whoami)).route("/maybe", axum::routing::get(maybe));
    App::new().server_config(config).websocket_route("/ws", tell).http(http)
}

async fn told(address: SocketAddr, headers: &[(&'static str, &'static str)]) -> Option<IpAddr> {
    let mut connect = Connect::new(format!("ws://{address}/ws"));
    for (name, value) in headers {
        connect = connect.header(*name, *value);
    }
    connect.connect().await.unwrap().receive_json().await.unwrap()
}

async fn whoami(address: SocketAddr, header: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /whoami HTTP/1.1\r\nhost: localhost\r\n{header}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn nobody_is_believed_by_default() {
    let server = serve(app(ServerConfig::new())).await;
    let headers = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7")];
    assert_eq!(told(server.address, &headers).await.unwrap().to_string(), "127.0.0.1");
    assert_eq!(whoami(server.address, "x-forwarded-for: 203.0.113.7").await, "127.0.0.1");
}

#[tokio::test]
async fn a_trusted_proxys_client_is_the_rightmost_that_is_not_trusted() {
    let server = serve(app(ServerConfig::new().trusted_proxies(["127.0.0.1", "10.0.0.0/8"]))).await;
    let check = async |headers: &[(&'static str, &'static str)], expected: &str| {
        assert_eq!(told(server.address, headers).await.unwrap().to_string(), expected, "{headers:?}");
    };
    check(&[], "127.0.0.1").await;
    check(&[("x-forwarded-for", "198.51.100.1, 203.0.113.7, 10.1.1.1")], "203.0.113.7").await;
    check(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7").await;
    check(&[("x-forwarded-for", "198.51.100.1, unknown")], "127.0.0.1").await;
    check(&[("forwarded", "for=203.0.113.7")], "127.0.0.1").await;
    assert_eq!(whoami(server.address, "x-forwarded-for: 203.0.113.7").await, "203.0.113.7");
}

#[tokio::test]
async fn forwarded_is_read_instead_when_the_proxy_sends_it() {
    let config = ServerConfig::new().proxy_header(ProxyHeader::Forwarded).trusted_proxies(["127.0.0.1"]);
    let server = serve(app(config)).await;
    let headers = [("forwarded", "for=\"[2001:db8::1]:4711\";proto=https"), ("x-forwarded-for", "198.51.100.1")];
    assert_eq!(told(server.address, &headers).await.unwrap().to_string(), "2001:db8::1");
}

#[tokio::test]
async fn without_a_socket_there_is_no_address() {
    let client = TestClient::new(app(ServerConfig::new().trusted_proxies(["::1"])));
    let address: Option<IpAddr> = client.connect("/ws").await.unwrap().receive_json().await.unwrap();
    assert_eq!(address, None);
    assert_eq!(client.get("/whoami").await.unwrap().status(), 500);
    let response = client.get("/maybe").await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(&body[..], b"None");
}

#[test]
#[should_panic(expected = "\"10.0.0.0/33\" is neither an address nor a network")]
fn what_is_no_network_is_a_mistake_of_the_program() {
    let _ = ServerConfig::new().trusted_proxies(["10.0.0.0/33"]);
}

#[tokio::test]
async fn connections_are_counted_for_the_client_and_not_for_its_proxy() {
    let config = ServerConfig::new().trusted_proxies(["127.0.0.1"]).connections_per_address(1);
    let server = serve(app(config)).await;
    let connect =
        async |client: &'static str| Connect::new(server.url("/ws")).header("x-forwarded-for", client).connect().await;
    let first = connect("203.0.113.7").await.unwrap();
    assert_eq!(crate::outcome::status(connect("203.0.113.7").await), 429);
    assert_eq!(crate::outcome::status(connect("1.1.1.1, 203.0.113.7").await), 429);
    let other = connect("203.0.113.8").await.unwrap();
    drop((first, other));
    server.wait_for_connections(0).await;
    connect("203.0.113.7").await.unwrap();
}
