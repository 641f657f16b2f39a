use nexios_proto::handshake::{
    HttpVersion,
    server::{ConnectRequest, Handshake, HandshakeError, Request, subprotocols, validate, validate_connect},
};

use crate::{Lines, and, headers, with};

fn good() -> Lines {
    vec![
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]
}

fn get(lines: &Lines) -> Result<Handshake, HandshakeError> {
    validate(&Request { method: "GET", version: HttpVersion::Http11, headers: headers(lines) })
}

#[track_caller]
fn refused(lines: &Lines, error: HandshakeError, status: u16) {
    assert_eq!(get(lines), Err(error));
    assert_eq!(error.status(), status);
}

#[test]
fn the_example_of_the_rfc_is_answered() {
    let handshake = get(&good()).unwrap();
    assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let answer =
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
    assert_eq!(handshake.response_headers(), answer);
}

#[test]
fn names_and_tokens_have_no_case_and_lists_have_other_elements() {
    let lines = vec![
        ("hOST", "example.com"),
        ("UPGRADE", "h2c"),
        ("upgrade", " , WebSocket"),
        ("connection", "keep-alive ,\tUPGRADE,"),
        ("sec-websocket-key", " dGhlIHNhbXBsZSBub25jZQ==\t"),
        ("sec-websocket-version", "13 "),
    ];
    assert!(get(&lines).is_ok());
}

#[test]
fn the_method_is_get() {
    let lines = good();
    for method in ["POST", "HEAD", "get", "CONNECT"] {
        let request = Request { method, version: HttpVersion::Http11, headers: headers(&lines) };
        let error = validate(&request).unwrap_err();
        assert_eq!(error, HandshakeError::MethodNotGet);
        assert_eq!((error.status(), error.response_headers()), (405, &[("Allow", "GET")][..]));
    }
}

#[test]
fn the_version_of_http_has_upgrades() {
    let lines = good();
    for version in [HttpVersion::Http10, HttpVersion::Http2] {
        let error = validate(&Request { method: "GET", version, headers: headers(&lines) }).unwrap_err();
        assert_eq!((error, error.status()), (HandshakeError::HttpVersion, 400));
    }
}

#[test]
fn a_plain_get_is_asked_to_upgrade() {
    refused(&vec![("Host", "example.com")], HandshakeError::NotAnUpgrade, 426);
    refused(&with(&good(), "Upgrade", Some("h2c")), HandshakeError::NotAnUpgrade, 426);
    refused(&with(&good(), "Upgrade", Some("websocket2")), HandshakeError::NotAnUpgrade, 426);
    let headers = HandshakeError::NotAnUpgrade.response_headers();
    assert!(headers.contains(&("Upgrade", "websocket")) && headers.contains(&("Sec-WebSocket-Version", "13")));
}

#[test]
fn connection_names_upgrade() {
    refused(&with(&good(), "Connection", None), HandshakeError::ConnectionHeader, 400);
    refused(&with(&good(), "Connection", Some("keep-alive")), HandshakeError::ConnectionHeader, 400);
    refused(&with(&good(), "Connection", Some("upgrades")), HandshakeError::ConnectionHeader, 400);
}

#[test]
fn host_is_there_once() {
    refused(&with(&good(), "Host", None), HandshakeError::MissingHost, 400);
    refused(&and(&good(), "host", "other"), HandshakeError::RepeatedHost, 400);
}

#[test]
fn the_version_is_13() {
    refused(&with(&good(), "Sec-WebSocket-Version", None), HandshakeError::MissingVersion, 400);
    refused(&and(&good(), "sec-websocket-version", "13"), HandshakeError::RepeatedVersion, 400);
    for version in ["8", "7", "14", "013", "", "13, 8"] {
        let lines = with(&good(), "Sec-WebSocket-Version", Some(version));
        refused(&lines, HandshakeError::UnsupportedVersion, 426);
    }
    let headers = HandshakeError::UnsupportedVersion.response_headers();
    assert!(headers.contains(&("Sec-WebSocket-Version", "13")));
}

#[test]
fn the_key_is_16_bytes_in_base64_once() {
    refused(&with(&good(), "Sec-WebSocket-Key", None), HandshakeError::MissingKey, 400);
    refused(&and(&good(), "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), HandshakeError::RepeatedKey, 400);
    let keys = [
        "",
        "dGhl",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25j*Q==",
        "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZSBvZiAxOQ==",
    ];
    for key in keys {
        refused(&with(&good(), "Sec-WebSocket-Key", Some(key)), HandshakeError::InvalidKey, 400);
    }
}

#[test]
fn the_request_has_no_body() {
    assert!(get(&and(&good(), "Content-Length", "0")).is_ok());
    for length in ["1", "10", "", "-0", "0, 5"] {
        refused(&and(&good(), "content-length", length), HandshakeError::HasBody, 400);
    }
    refused(&and(&good(), "Transfer-Encoding", "chunked"), HandshakeError::HasBody, 400);
}

#[test]
fn subprotocols_keep_the_clients_order_over_all_lines() {
    let lines = and(&and(&good(), "Sec-WebSocket-Protocol", "z, a,,m"), "sec-websocket-protocol", "b ,\tz");
    assert!(subprotocols(headers(&lines)).eq(["z", "a", "m", "b", "z"]));
    assert_eq!(subprotocols(headers(&good())).count(), 0);
}

#[test]
fn subprotocols_that_are_no_tokens_are_left_out() {
    let lines = vec![("Sec-WebSocket-Protocol", "good, two words, a/b, \"quoted\", ümlaut, v1.2+x")];
    assert!(subprotocols(headers(&lines)).eq(["good", "v1.2+x"]));
}

fn connect(method: &str, protocol: Option<&str>, lines: &Lines) -> Result<(), HandshakeError> {
    validate_connect(&ConnectRequest { method, protocol, headers: headers(lines) })
}

#[test]
fn over_http_2_an_extended_connect_needs_a_host_and_the_version_only() {
    let lines = vec![("host", "example.com"), ("sec-websocket-version", "13")];
    let websocket = Some("websocket");
    assert_eq!(connect("CONNECT", websocket, &lines), Ok(()));
    assert_eq!(connect("CONNECT", Some("WebSocket"), &lines), Ok(()));
    let cases = [
        (connect("GET", None, &lines), HandshakeError::NotAnExtendedConnect, 400),
        (connect("GET", websocket, &lines), HandshakeError::NotAnExtendedConnect, 400),
        (connect("connect", websocket, &lines), HandshakeError::NotAnExtendedConnect, 400),
        (connect("CONNECT", None, &lines), HandshakeError::NotAnExtendedConnect, 400),
        (connect("CONNECT", Some("connect-udp"), &lines), HandshakeError::UnknownProtocol, 501),
        (connect("CONNECT", websocket, &with(&lines, "host", None)), HandshakeError::MissingHost, 400),
        (connect("CONNECT", websocket, &and(&lines, "host", "other")), HandshakeError::RepeatedHost, 400),
        (
            connect("CONNECT", websocket, &with(&lines, "sec-websocket-version", None)),
            HandshakeError::MissingVersion,
            400,
        ),
        (
            connect("CONNECT", websocket, &with(&lines, "sec-websocket-version", Some("8"))),
            HandshakeError::UnsupportedVersion,
            426,
        ),
        (connect("CONNECT", websocket, &and(&lines, "content-length", "3")), HandshakeError::HasBody, 400),
    ];
    for (result, error, status) in cases {
        assert_eq!((result, error.status()), (Err(error), status));
    }
}
