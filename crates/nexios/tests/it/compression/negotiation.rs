//! The opening handshake (RFC 7692 §5 and §7.1).

use nexios::prelude::*;
use nexios::{Compression, WebSocketRoute, WsRouter};

use super::peer::{OFFER, Peer, config, negotiate};
use crate::programs::{app, echo};
use crate::serving::pipe;
use crate::wire::text;

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// Offers these header values to an app; checks the answer, and that the connection works.
async fn check(compression: Compression, offers: &[&str], expected: Option<&str>) {
    let lines: Vec<String> = offers.iter().map(|offer| format!("{EXTENSIONS}: {offer}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (mut wire, _) = pipe(app(echo).config(config(compression)));
    let answer = negotiate(&mut wire, "/ws", &lines).await;
    assert_eq!(answer.as_deref(), expected, "{compression:?}, {offers:?}");
    wire.send(text("works")).await;
    assert_eq!(wire.text().await, "works", "{offers:?}");
}

#[tokio::test]
async fn without_compression_every_offer_is_declined() {
    for offer in [OFFER, "permessage-deflate", "permessage-deflate; server_max_window_bits=10, permessage-deflate"] {
        check(Compression::off(), &[offer], None).await;
        check(Compression::default(), &[offer], None).await;
    }
}

#[tokio::test]
async fn nothing_is_answered_to_no_offer() {
    for compression in [Compression::shared(), Compression::dedicated()] {
        check(compression, &[], None).await;
        check(compression, &["x-webkit-deflate-frame", "permessage-bzip2, x-other; a=1"], None).await;
    }
}

#[tokio::test]
async fn a_shared_compressor_asks_for_no_context_takeover_on_both_ends() {
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for offer in [OFFER, "permessage-deflate", "permessage-deflate; server_no_context_takeover"] {
        check(Compression::shared(), &[offer], Some(both)).await;
    }
}

#[tokio::test]
async fn a_dedicated_compressor_takes_what_the_client_asks_for() {
    for (offer, expected) in [
        ("permessage-deflate", "permessage-deflate"),
        (OFFER, "permessage-deflate"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        ("permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=\"10\"", "permessage-deflate; server_max_window_bits=10"),
        ("permessage-deflate ;\tserver_max_window_bits=10", "permessage-deflate; server_max_window_bits=10"),
        // zlib inflates what was compressed with a window of 256 bytes, so the client may use it.
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"),
        ("permessage-deflate; client_max_window_bits=12", "permessage-deflate; client_max_window_bits=12"),
    ] {
        check(Compression::dedicated(), &[offer], Some(expected)).await;
    }
}

#[tokio::test]
async fn the_window_of_the_server_is_the_smaller_one() {
    let compression = Compression::dedicated().window_bits(11);
    for (offer, bits) in [("", 11), ("; server_max_window_bits=15", 11), ("; server_max_window_bits=9", 9)] {
        let expected = format!("permessage-deflate; server_max_window_bits={bits}");
        check(compression, &[&format!("permessage-deflate{offer}")], Some(&expected)).await;
    }
}

#[tokio::test]
async fn an_offer_with_a_bad_parameter_is_declined() {
    for parameters in [
        "unknown",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=ten",
        "server_max_window_bits=-9",
        "server_max_window_bits=\"\"",
        // RFC 7692 allows it, zlib cannot compress with it, and a larger window may not be answered.
        "server_max_window_bits=8",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=4294967305",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
    ] {
        for compression in [Compression::shared(), Compression::dedicated()] {
            check(compression, &[&format!("permessage-deflate; {parameters}")], None).await;
        }
    }
}

#[tokio::test]
async fn offers_are_tried_in_their_order() {
    for (offers, expected) in [
        (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"][..], "permessage-deflate"),
        (
            &["x-other; a=\"1\"; b, permessage-deflate; server_max_window_bits=12"],
            "permessage-deflate; server_max_window_bits=12",
        ),
        (
            &[
                "permessage-deflate; unknown",
                "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=10",
            ],
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
            "permessage-deflate; server_max_window_bits=10",
        ),
        (&["permessage-deflate", "permessage-deflate; server_max_window_bits=10"], "permessage-deflate"),
    ] {
        check(Compression::dedicated(), offers, Some(expected)).await;
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_read_declines_and_nothing_more() {
    for header in [
        "",
        ",",
        ";",
        "=",
        "permessage-deflate;;server_no_context_takeover",
        "permessage-deflate;",
        "permessage-deflate; =10",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate server_no_context_takeover",
        "\"permessage-deflate\"",
        "permessage-deflate; sérver_no_context_takeover",
        "x-other; a=\"1, permessage-deflate",
    ] {
        check(Compression::dedicated(), &[header], None).await;
        check(Compression::dedicated(), &[header, "permessage-deflate"], Some("permessage-deflate")).await;
    }
}

#[tokio::test]
async fn many_offers_are_read_and_4096_bytes_of_a_line() {
    let offers = |bad: usize| "permessage-deflate; unknown, ".repeat(bad) + "permessage-deflate";
    check(Compression::dedicated(), &[&offers(100)], Some("permessage-deflate")).await;
    check(Compression::dedicated(), &[&offers(200)], None).await;
    check(Compression::dedicated(), &[&offers(200), "permessage-deflate"], Some("permessage-deflate")).await;
}

#[tokio::test]
async fn a_routes_setting_stands_for_the_apps() {
    let compressing = |path: &str, compression| WebSocketRoute::new(path, echo).config(config(compression));
    let app = || {
        App::new()
            .config(config(Compression::dedicated()))
            .websocket_route("/as-the-app", echo)
            .add_ws_route(compressing("/off", Compression::off()))
            .add_ws_route(compressing("/shared", Compression::shared()))
            .mount_ws_router(
                WsRouter::new().add_ws_route(compressing("/small", Compression::dedicated().window_bits(9))),
            )
    };
    for (path, expected) in [
        ("/as-the-app", Some("permessage-deflate")),
        ("/off", None),
        ("/shared", Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")),
        ("/small", Some("permessage-deflate; server_max_window_bits=9")),
    ] {
        let peer = Peer::upgrade(pipe(app()).0, path, OFFER).await;
        assert_eq!(peer.answer.as_deref(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_refusal_says_nothing_of_compression() {
    let refusing = app(async |mut websocket: WebSocket| websocket.close(1008, "").await);
    let (mut wire, _) = pipe(refusing.config(config(Compression::shared())));
    wire.send(crate::wire::request("/ws", &[&format!("{EXTENSIONS}: {OFFER}")])).await;
    let head = wire.head().await;
    assert_eq!(head.status, 403);
    assert!(!head.text.contains("sec-websocket-extensions"), "{}", head.text);
}
