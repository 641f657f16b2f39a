//! The client of this library, against this library's server and against hand-made ones.

use nexios::client::{Connect, ConnectError};
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{Compression, ProtocolError};

use super::payload::{deflate_alone, noise, prose};
use super::peer::config;
use crate::client::{SWITCH, answers, connect_error};
use crate::outcome::{code, ending};
use crate::programs::{app, echo};
use crate::serving::within;
use crate::wire::Wire;

const MIB: usize = 1024 * 1024;

fn agreed(websocket: &WebSocket) -> Option<&str> {
    websocket.headers().get("sec-websocket-extensions").map(|value| value.to_str().unwrap())
}

async fn both_ends(server: Compression, client: Compression) -> WebSocket {
    let test = TestClient::new(app(echo).config(config(server)));
    test.request("/ws").config(config(client)).connect().await.unwrap()
}

#[tokio::test]
async fn every_pair_of_settings_works() {
    let all = [
        Compression::off(),
        Compression::shared(),
        Compression::dedicated(),
        Compression::dedicated().window_bits(9).threshold(0),
    ];
    for (server, client) in all.iter().flat_map(|server| all.map(|client| (*server, client))) {
        let mut websocket = both_ends(server, client).await;
        let is_off = server == Compression::off() || client == Compression::off();
        assert_eq!(agreed(&websocket).is_none(), is_off, "{server:?}, {client:?}");
        for len in [0, 1, 1023, 1024, 3000, 3000, 60_000] {
            websocket.send_text(prose(len)).await.unwrap();
            websocket.send_bytes(noise(1, len)).await.unwrap();
            assert!(within(websocket.receive_text()).await.unwrap() == prose(len), "{server:?}, {client:?}: {len}");
            assert!(within(websocket.receive_bytes()).await.unwrap() == noise(1, len));
        }
        websocket.close(1000, "").await.unwrap();
    }
}

#[tokio::test]
async fn messages_of_the_largest_size_go_both_ways() {
    let mut websocket = both_ends(Compression::dedicated(), Compression::dedicated()).await;
    for _ in 0..2 {
        websocket.send_text(prose(MIB)).await.unwrap();
        assert!(within(websocket.receive_text()).await.unwrap() == prose(MIB));
    }
}

#[tokio::test]
async fn what_is_agreed_on_is_in_the_headers() {
    for (server, client, expected) in [
        (Compression::dedicated(), Compression::dedicated(), "permessage-deflate"),
        (
            Compression::dedicated(),
            Compression::shared(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            Compression::shared(),
            Compression::dedicated(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            Compression::dedicated().window_bits(12),
            Compression::dedicated().window_bits(10),
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10",
        ),
    ] {
        assert_eq!(agreed(&both_ends(server, client).await), Some(expected));
    }
}

/// The client's request, and its first frame after the answer.
async fn first_frame(compression: Compression, answer: &str, text: String) -> (String, u8, usize) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let client = tokio::spawn(async move {
        let mut websocket = Connect::new(url).config(config(compression)).connect().await.unwrap();
        websocket.send_text(text).await.unwrap();
        websocket
    });
    let mut wire = Wire::new(listener.accept().await.unwrap().0);
    let request = wire.fill_request().await;
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap().trim();
    let accept = nexios_proto::handshake::accept_key(key);
    wire.send(format!("{SWITCH}Sec-WebSocket-Accept: {accept}\r\n{answer}\r\n")).await;
    let mut head = [0; 4];
    within(tokio::io::AsyncReadExt::read_exact(&mut wire.stream, &mut head)).await.unwrap();
    drop(client.await.unwrap());
    let len = match head[1] & 0x7f {
        126 => u16::from_be_bytes([head[2], head[3]]).into(),
        len => len.into(),
    };
    (request.to_lowercase(), head[0], len)
}

#[tokio::test]
async fn a_client_compresses_what_it_sends_if_the_server_agrees() {
    let offer = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
    let answer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (request, first, len) = first_frame(Compression::dedicated(), answer, prose(3000)).await;
    assert!(request.contains(offer), "{request}");
    assert_eq!(first, 0xc1);
    assert!(len < 1000, "{len}");
    for (answer, len) in [("", 3000), (answer, 1023)] {
        let (_, first, sent) = first_frame(Compression::dedicated(), answer, prose(len)).await;
        assert_eq!((first, sent), (0x81, len));
    }
}

#[tokio::test]
async fn a_client_whose_window_shall_be_of_8_bits_sends_plain() {
    let answer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8\r\n";
    let (_, first, len) = first_frame(Compression::dedicated(), answer, prose(3000)).await;
    assert_eq!((first, len), (0x81, 3000));
}

#[tokio::test]
async fn a_client_without_compression_offers_nothing() {
    let (request, first, _) = first_frame(Compression::off(), "", prose(3000)).await;
    assert!(!request.contains("sec-websocket-extensions"), "{request}");
    assert_eq!(first, 0x81);
}

async fn answered(compression: Compression, extensions: &str, frames: &[u8]) -> nexios::Result<WebSocket> {
    let head = format!("{SWITCH}Sec-WebSocket-Accept: {{accept}}\r\n{extensions}\r\n");
    let answer = [head.as_bytes(), frames].concat();
    within(Connect::new(answers(answer).await).config(config(compression)).connect()).await
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_offer_is_an_error() {
    let shared = Compression::shared();
    let dedicated = Compression::dedicated();
    for (compression, answer) in [
        (Compression::off(), "permessage-deflate"),
        (dedicated, "permessage-deflate; unknown"),
        (dedicated, "permessage-deflate; server_max_window_bits=16"),
        (dedicated, "permessage-deflate; server_max_window_bits"),
        (dedicated, "permessage-deflate; client_max_window_bits"),
        (dedicated, "permessage-deflate; server_no_context_takeover; server_no_context_takeover"),
        (dedicated, "permessage-deflate, permessage-deflate"),
        (dedicated, "permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate"),
        (dedicated, "x-other"),
        (dedicated, "permessage-deflate;"),
        (dedicated.window_bits(10), "permessage-deflate; client_max_window_bits=11"),
        // Offered, so the answer must have it (RFC 7692 §7.1.1.1).
        (shared, "permessage-deflate"),
    ] {
        let extensions = format!("Sec-WebSocket-Extensions: {answer}\r\n");
        let error = connect_error(answered(compression, &extensions, b"").await);
        assert!(matches!(error, ConnectError::Handshake(_)), "{compression:?}, {answer}: {error:?}");
    }
}

#[tokio::test]
async fn a_client_inflates_what_the_server_sends_and_no_more_than_its_limit() {
    let frame = |payload: &[u8]| [&[0xc1, 126][..], &(payload.len() as u16).to_be_bytes(), payload].concat();
    let extensions = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let fits = frame(&deflate_alone("b".repeat(MIB).as_bytes()));
    let too_long = frame(&deflate_alone("a".repeat(MIB + 1).as_bytes()));
    let mut websocket = answered(Compression::dedicated(), extensions, &[fits, too_long].concat()).await.unwrap();
    assert!(within(websocket.receive_text()).await.unwrap() == "b".repeat(MIB));
    assert_eq!(code(within(websocket.receive()).await), 1009);
}

#[tokio::test]
async fn a_client_that_declined_takes_rsv1_for_a_protocol_error() {
    for compression in [Compression::off(), Compression::shared()] {
        let mut websocket = answered(compression, "", &[0xc1, 0x01, 0x00]).await.unwrap();
        let end = ending(within(websocket.receive()).await);
        assert_eq!(u16::from(end.code()), 1002);
        assert!(matches!(end.cause(), Cause::ProtocolError(ProtocolError::ReservedBits(_))), "{end}");
    }
}
