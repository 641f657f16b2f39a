//! TLS: what is agreed on, whose certificate it is, and how it is renewed.

use std::time::{Duration, Instant};

use nexios::prelude::*;
use nexios::{App, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::{ALL, Certificates, TLS_1_2, TLS_1_3, connect};
use crate::programs::echo;
use crate::serving::{Running, serve, within};
use crate::wire::{Wire, text};

const HTTP_1: &[&str] = &["http/1.1"];

fn app() -> App {
    let http = axum::Router::new().route("/marker", axum::routing::get(async || "the marker"));
    App::new().websocket_route("/ws", echo).http(http)
}

async fn server(certificates: &Certificates) -> Running {
    serve(app().tls(certificates.tls())).await
}

fn client(server: &Running, certificates: &Certificates) -> nexios::client::Connect {
    let url = server.url("/ws").replace("ws://", "wss://");
    nexios::client::Connect::new(url).ca_file(certificates.certificate())
}

#[tokio::test]
async fn a_websocket_goes_over_tls_1_2_and_1_3() {
    let certificates = Certificates::new();
    let server = server(&certificates).await;
    for (versions, name) in [(TLS_1_2, "TLSv1_2"), (TLS_1_3, "TLSv1_3")] {
        let stream = connect(server.address, certificates.client(versions, HTTP_1)).await.unwrap();
        let agreed = stream.get_ref().1;
        assert_eq!(format!("{:?}", agreed.protocol_version().unwrap()), name);
        assert_eq!(agreed.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut wire = Wire::new(stream);
        wire.handshake("/ws").await;
        wire.send(text("hello")).await;
        assert_eq!(wire.text().await, "hello");
    }
}

#[tokio::test]
async fn http_2_is_preferred_and_no_protocol_at_all_is_http_1() {
    let certificates = Certificates::new();
    let server = server(&certificates).await;
    let stream = connect(server.address, certificates.client(ALL, &["http/1.1", "h2"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let stream = connect(server.address, certificates.client(ALL, &[])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    Wire::new(stream).handshake("/ws").await;
    assert!(connect(server.address, certificates.client(ALL, &["imap"])).await.is_err());
}

#[tokio::test]
async fn the_client_connects_to_wss() {
    let certificates = Certificates::new();
    let server = server(&certificates).await;
    let config = Config::new().compression(Compression::shared());
    let mut websocket = client(&server, &certificates).config(config).connect().await.unwrap();
    for len in [0, 1, 100, 100_000, 1_000_000] {
        let message = "x".repeat(len);
        websocket.send_text(message.as_str()).await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), message.as_str());
    }
    websocket.close(1000, "").await.unwrap();
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn the_client_trusts_nobody_whose_certificate_it_does_not_know() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = server(&certificates).await;
    let url = server.url("/ws").replace("ws://", "wss://");
    let error = nexios::client::connect(url).await.unwrap_err().to_string();
    assert!(error.starts_with("no TLS connection: invalid peer certificate"), "{error}");
    let error = client(&server, &others).connect().await.unwrap_err().to_string();
    assert!(error.starts_with("no TLS connection: invalid peer certificate"), "{error}");
    let error = client(&server, &certificates).ca_file("/nowhere/ca.pem").connect().await.unwrap_err().to_string();
    assert!(error.starts_with("no TLS connection: /nowhere/ca.pem: "), "{error}");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_no_connection() {
    let certificates = Certificates::new();
    let server = server(&certificates).await;
    let error = nexios::client::connect(server.url("/ws")).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot connect"), "{error}");
}

#[tokio::test]
async fn the_deadline_covers_the_tls_handshake_and_the_head() {
    let certificates = Certificates::new();
    let config = Config::new().handshake_timeout(Duration::from_millis(300));
    let server = serve(app().tls(certificates.tls()).config(config)).await;
    let began = Instant::now();
    let mut silent = Wire::connect(server.address).await;
    let mut half = Wire::connect(server.address).await;
    // The first bytes of a ClientHello of 512.
    half.send([0x16, 3, 1, 2, 0, 1, 0]).await;
    let mut late = Wire::new(connect(server.address, certificates.client(ALL, HTTP_1)).await.unwrap());
    late.send("GET /ws HTTP/1.1\r\n").await;
    let idle = connect(server.address, certificates.client(ALL, &["h2"])).await.unwrap();
    let mut idle = Wire::new(idle);
    assert_eq!(silent.rest().await, b"");
    assert_eq!(half.rest().await, b"");
    assert_eq!(late.head().await.status, 408);
    assert_eq!(late.rest().await, b"");
    idle.rest().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_the_open_ones_go_on() {
    let certificates = Certificates::new();
    let tls = certificates.tls();
    let server = serve(app().tls(tls.clone())).await;
    let old = certificates.client(ALL, HTTP_1);
    let mut open = Wire::new(connect(server.address, old.clone()).await.unwrap());
    open.handshake("/ws").await;
    certificates.renew();
    // The old one stays until it is told, and its sessions can be resumed.
    drop(connect(server.address, old.clone()).await.unwrap());
    tls.reload().unwrap();
    assert!(connect(server.address, old).await.is_err());
    Wire::new(connect(server.address, certificates.client(ALL, HTTP_1)).await.unwrap()).handshake("/ws").await;
    open.send(text("still here")).await;
    assert_eq!(open.text().await, "still here");
}

#[tokio::test]
async fn a_reload_that_fails_keeps_the_old_certificate() {
    let certificates = Certificates::new();
    let tls = certificates.tls();
    let server = serve(app().tls(tls.clone())).await;
    let client = certificates.client(ALL, HTTP_1);
    std::fs::write(certificates.key(), "no key").unwrap();
    assert!(tls.reload().unwrap_err().to_string().starts_with("there is no private key in"));
    Wire::new(connect(server.address, client).await.unwrap()).handshake("/ws").await;
}

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let (good, other) = (Certificates::new(), Certificates::new());
    let (certificate, key) = (good.certificate(), good.key());
    let nowhere = good.key().with_file_name("nowhere.pem");
    let garbled = good.key().with_file_name("garbled.pem");
    std::fs::write(&garbled, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let cases = [
        (&nowhere, &key, "nowhere.pem\" cannot be read"),
        (&certificate, &nowhere, "nowhere.pem\" cannot be read"),
        (&key, &key, "there is no certificate in"),
        (&certificate, &certificate, "there is no private key in"),
        (&garbled, &key, "garbled.pem\" is not valid"),
        (&certificate, &other.key(), "does not belong to the first certificate in"),
    ];
    for (certificate, key, expected) in cases {
        let error = Tls::from_files(certificate, key).unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_over_tls_is_a_slow_consumer_and_holds_no_more_than_over_tcp() {
    async fn flood(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        let sender = websocket.sender();
        for _ in 0..400 {
            sender.send_bytes(vec![7; 64 * 1024]).await?;
            tokio::task::yield_now().await;
        }
        websocket.receive().await?;
        Ok(())
    }
    let certificates = Certificates::new();
    let config = Config::new().close_timeout(Duration::from_millis(300));
    let server = serve(App::new().websocket_route("/ws", flood).config(config).tls(certificates.tls())).await;
    let mut wire = Wire::new(connect(server.address, certificates.client(ALL, HTTP_1)).await.unwrap());
    wire.handshake("/ws").await;
    server.wait_for_connections(0).await;
    let received = wire.rest().await.len();
    assert!(received < 20 * 1024 * 1024, "{received}");
}

#[tokio::test]
async fn bytes_that_tls_still_holds_are_written_when_the_peer_reads_again() {
    async fn two(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_bytes(vec![7; 8 * 1024 * 1024]).await?;
        websocket.send_text("the last").await?;
        websocket.receive().await?;
        Ok(())
    }
    let certificates = Certificates::new();
    let config = Config::new().outbound_queue(32 * 1024 * 1024).ping_interval(None);
    let server = serve(App::new().websocket_route("/ws", two).config(config).tls(certificates.tls())).await;
    let mut wire = Wire::new(connect(server.address, certificates.client(ALL, HTTP_1)).await.unwrap());
    wire.handshake("/ws").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(wire.frame().await.unwrap().payload.len(), 8 * 1024 * 1024);
    assert_eq!(wire.text().await, "the last");
}

#[tokio::test]
async fn a_shutdown_closes_with_1001_and_ends_tls_properly() {
    let certificates = Certificates::new();
    let server = server(&certificates).await;
    let mut wire = Wire::new(connect(server.address, certificates.client(ALL, HTTP_1)).await.unwrap());
    wire.handshake("/ws").await;
    server.handle.shutdown();
    assert_eq!(wire.close_frame().await.0, 1001);
    wire.send(crate::wire::close(1001, "")).await;
    // Without a close_notify this would be an error (RFC 8446 §6.1).
    let mut rest = Vec::new();
    within(wire.stream.read_to_end(&mut rest)).await.unwrap();
    let _ = wire.stream.shutdown().await;
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn with_cookies_the_same_origin_over_tls_is_https() {
    let certificates = Certificates::new();
    let server = server(&certificates).await;
    for (origin, is_same) in [
        (format!("https://{}", server.address), true),
        (format!("http://{}", server.address), false),
        ("https://127.0.0.1".to_owned(), false),
        (format!("https://evil.example:{}", server.address.port()), false),
    ] {
        let request = client(&server, &certificates).header("cookie", "session=1").header("origin", origin.as_str());
        let connected = within(request.connect()).await;
        if is_same {
            connected.unwrap();
        } else {
            assert_eq!(crate::outcome::status(connected), 403, "{origin}");
        }
    }
}
