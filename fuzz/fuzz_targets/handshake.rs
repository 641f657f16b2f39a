//! Arbitrary header lines to both halves of the opening handshake.
//!
//! The first byte of an input chooses what this end wants of compression, the second one method, version and status;
//! what follows is lines of `name:value`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexios_fuzz::header_lines::{Lines, iter, lines, values};
use nexios_proto::handshake::{
    HttpVersion, accept_key,
    client::{self, ClientHandshakeError},
    deflate::{DeflateOptions, DeflateParams},
    extension::{self, Offer},
    is_token, server,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const OFFERED: [&str; 2] = ["chat", "v2"];

fuzz_target!(|data: &[u8]| {
    let &[choice, about, ref head @ ..] = data else { return };
    let lines = lines(head);
    let wanted = Wanted::new(choice);
    check_request(&lines, about);
    check_connect(&lines, about);
    check_subprotocols(&lines);
    for value in values(&lines, "sec-websocket-extensions") {
        check_extensions(value);
    }
    check_offer(&lines, &wanted);
    check_answer(&lines, about, &wanted);
});

/// The compression options of this end, and the same as numbers.
struct Wanted {
    options: DeflateOptions,
    server_alone: bool,
    client_alone: bool,
    server_bits: u8,
    client_bits: u8,
}

impl Wanted {
    fn new(choice: u8) -> Self {
        let (server_alone, client_alone) = (choice & 1 != 0, choice & 2 != 0);
        let (server_bits, client_bits) = (8 + (choice >> 2 & 7), 8 + (choice >> 5));
        let options = DeflateOptions::new()
            .server_no_context_takeover(server_alone)
            .client_no_context_takeover(client_alone)
            .server_max_window_bits(server_bits)
            .client_max_window_bits(client_bits);
        Self { options, server_alone, client_alone, server_bits: server_bits.max(9), client_bits: client_bits.max(9) }
    }

    /// Checks that the negotiated parameters are within the options of this end.
    fn check(&self, params: DeflateParams, is_server: bool) {
        assert!(params.server_no_context_takeover || !self.server_alone);
        assert!(params.client_no_context_takeover || !self.client_alone);
        assert!((8..=15).contains(&params.server_max_window_bits) && params.server_max_window_bits <= self.server_bits);
        // The server's wish is none when the client does not let it choose.
        let client_bits = if is_server { 15 } else { self.client_bits };
        assert!((8..=15).contains(&params.client_max_window_bits) && params.client_max_window_bits <= client_bits);
        assert!(!is_server || params.server_max_window_bits >= 9, "zlib has no window of 8 bits");
    }
}

fn check_request(lines: &Lines<'_>, about: u8) {
    let method = ["GET", "GET", "GET", "get", "POST", "", "GET ", "\u{e9}"][usize::from(about & 7)];
    let version = [HttpVersion::Http11, HttpVersion::Http11, HttpVersion::Http10, HttpVersion::Http2];
    let request = server::Request { method, version: version[usize::from(about >> 3 & 3)], headers: iter(lines) };
    let result = server::validate(&request);

    let (upper, more) = renamed(lines);
    assert_eq!(server::validate(&server::Request { headers: iter(&upper), ..request.clone() }), result, "{more}");
    match result {
        Err(error) => assert!(matches!(error.status(), 400 | 405 | 426)),
        Ok(handshake) => {
            assert_eq!((method, request.version), ("GET", HttpVersion::Http11));
            for name in ["host", "sec-websocket-version", "sec-websocket-key"] {
                assert_eq!(values(lines, name).count(), 1, "{name}");
            }
            let key = values(lines, "sec-websocket-key").next().unwrap_or_default();
            assert_eq!((key.len(), handshake.accept), (24, accept_key(key)));
            let key = std::str::from_utf8(key).expect("base64 is text");
            // What the server answers opens the connection at the other end.
            let answer = handshake.response_headers();
            let answer = answer.iter().map(|(name, value)| (*name, value.as_bytes()));
            assert_eq!(client::verify(101, answer, key, &OFFERED, None), Ok(client::Accepted::default()));
        }
    }
}

/// The same lines over HTTP/2.
fn check_connect(lines: &Lines<'_>, about: u8) {
    let method = if about & 1 == 0 { "CONNECT" } else { "GET" };
    let protocol = [Some("websocket"), Some("WebSocket"), Some("connect-udp"), None][usize::from(about >> 3 & 3)];
    let request = server::ConnectRequest { method, protocol, headers: iter(lines) };
    let result = server::validate_connect(&request);

    let (upper, more) = renamed(lines);
    let headers = iter(&upper);
    assert_eq!(server::validate_connect(&server::ConnectRequest { headers, ..request.clone() }), result, "{more}");
    if let Err(error) = result {
        assert!(matches!(error.status(), 400 | 426 | 501));
    } else {
        assert!(method == "CONNECT" && protocol.is_some_and(|name| name.eq_ignore_ascii_case("websocket")));
        assert_eq!(values(lines, "host").count(), 1);
        assert!(values(lines, "sec-websocket-version").eq([b"13"]));
        assert_eq!(values(lines, "transfer-encoding").count(), 0);
    }
    // It asks for nothing that HTTP/1.1 does not.
    let over_http1 = server::Request { method: "GET", version: HttpVersion::Http11, headers: iter(lines) };
    if server::validate(&over_http1).is_ok() {
        let request = server::ConnectRequest { method: "CONNECT", protocol: Some("websocket"), headers: iter(lines) };
        assert_eq!(server::validate_connect(&request), Ok(()));
    }
}

/// The same lines to who obeys the RFC: names have no case, and other headers mean nothing.
fn renamed<'a>(lines: &Lines<'a>) -> (Lines<'a>, &'static str) {
    const NAMES: [&str; 10] = [
        "UPGRADE",
        "CONNECTION",
        "HOST",
        "SEC-WEBSOCKET-VERSION",
        "SEC-WEBSOCKET-KEY",
        "SEC-WEBSOCKET-ACCEPT",
        "SEC-WEBSOCKET-PROTOCOL",
        "SEC-WEBSOCKET-EXTENSIONS",
        "CONTENT-LENGTH",
        "TRANSFER-ENCODING",
    ];
    let known = |name: &str| NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name));
    let renamed = lines.iter().map(|&(name, value)| (known(name).unwrap_or("x-other"), value));
    (renamed.chain([("cookie", &b"websocket, upgrade"[..])]).collect(), "with names in capitals, and another line")
}

fn check_subprotocols(lines: &Lines<'_>) {
    let found: Vec<&str> = server::subprotocols(iter(lines)).collect();
    let elements = values(lines, "sec-websocket-protocol").flat_map(|value| value.split(|&byte| byte == b','));
    let expected: Vec<&[u8]> = elements.map(<[u8]>::trim_ascii).filter(|element| is_token(element)).collect();
    assert!(found.iter().map(|name| name.as_bytes()).eq(expected));
}

/// Checks that a parsed list is the same after it is written and parsed again.
fn check_extensions(value: &[u8]) {
    let Ok(offers) = extension::parse(value) else { return };
    let written: Vec<String> = offers.iter().map(written).collect();
    let written = written.join(", ");
    // White space that goes makes up for what comes, but for quotes and lists that were written without any.
    if written.len() <= 4096 {
        assert_eq!(extension::parse(written.as_bytes()), Ok(offers), "{written}");
    }
}

fn written(offer: &Offer<'_>) -> String {
    assert!(is_token(offer.name.as_bytes()));
    let params = offer.params.iter().map(|(name, value)| match value {
        Some(value) => format!("; {name}=\"{value}\""),
        None => format!("; {name}"),
    });
    format!("{}{}", offer.name, params.collect::<String>())
}

/// A server's answer to an arbitrary offer is within what it wants, and one that can be read.
fn check_offer(lines: &Lines<'_>, wanted: &Wanted) {
    if let Some(answer) = wanted.options.answer(iter(lines)) {
        wanted.check(answer.params, true);
        let read = extension::parse(answer.header.as_bytes()).expect("an answer is well-formed");
        assert!(matches!(&read[..], [offer] if offer.name == "permessage-deflate"));
        // The client that made no other conditions takes it for what the server does.
        if answer.params.client_max_window_bits >= 9 {
            let taken = negotiated(&answer.header, DeflateOptions::new());
            assert_eq!(taken, Ok(Some(answer.params)));
        }
    }
    // And to the offer of a client like ours, it is always one that this client takes.
    for ours in [DeflateOptions::new(), DeflateOptions::new().server_max_window_bits(10).client_max_window_bits(11)] {
        let offer = wanted.options.offer();
        let answer = ours.answer([("sec-websocket-extensions", offer.as_bytes())].into_iter()).expect("ours fit");
        wanted.check(answer.params, false);
        assert_eq!(negotiated(&answer.header, wanted.options), Ok(Some(answer.params)));
    }
}

/// The result of a client that made this offer for a response.
fn negotiated(header: &str, offered: DeflateOptions) -> Result<Option<DeflateParams>, ClientHandshakeError> {
    let accept = accept_key(KEY);
    let answer = [
        ("upgrade", &b"websocket"[..]),
        ("connection", b"upgrade"),
        ("sec-websocket-accept", accept.as_bytes()),
        ("sec-websocket-extensions", header.as_bytes()),
    ];
    client::verify(101, answer.into_iter(), KEY, &OFFERED, Some(&offered)).map(|accepted| accepted.deflate)
}

/// Arbitrary lines as a server's answer.
fn check_answer(lines: &Lines<'_>, about: u8, wanted: &Wanted) {
    let status = if about & 0x20 == 0 { 101 } else { 200 };
    let offered = (about & 0x40 == 0).then_some(&wanted.options);
    let result = client::verify(status, iter(lines), KEY, &OFFERED, offered);
    assert_eq!(client::verify(status, iter(&renamed(lines).0), KEY, &OFFERED, offered), result);
    let Ok(accepted) = result else { return };
    assert_eq!(status, 101);
    assert!(values(lines, "sec-websocket-accept").eq([accept_key(KEY).as_bytes()]));
    assert!(accepted.subprotocol.is_none_or(|name| OFFERED.contains(&name.as_str())));
    if let Some(params) = accepted.deflate {
        assert!(offered.is_some());
        wanted.check(params, false);
    }
}
