use nexios_proto::handshake::{
    client::{ClientHandshakeError, key_from, request_headers, verify},
    extension::ExtensionError,
};

use crate::{Lines, and, headers, with};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn good() -> Lines {
    vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]
}

fn answer(lines: &Lines) -> Result<Option<String>, ClientHandshakeError> {
    verify(101, headers(lines), KEY, &["v2", "v1"], None).map(|accepted| accepted.subprotocol)
}

#[track_caller]
fn refused(lines: &Lines, error: ClientHandshakeError) {
    assert_eq!(answer(lines), Err(error));
}

#[test]
fn the_request_has_what_a_server_wants() {
    assert_eq!(key_from(*b"the sample nonce"), KEY);
    let names = request_headers(KEY).map(|(name, _)| name);
    assert_eq!(names, ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]);
}

#[test]
fn a_good_answer_is_taken() {
    assert_eq!(answer(&good()), Ok(None));
    let lines = vec![
        ("UPGRADE", "WebSocket"),
        ("connection", "keep-alive, upgrade"),
        ("sec-websocket-accept", " s3pPLMBiTxaQ9kYGzzhZRbK+xOo= "),
        ("Sec-WebSocket-Extensions", " "),
    ];
    assert_eq!(answer(&lines), Ok(None));
}

#[test]
fn another_status_is_a_refusal() {
    for status in [200, 301, 403, 426, 500] {
        let result = verify(status, headers(&good()), KEY, &["v1"], None);
        assert_eq!(result, Err(ClientHandshakeError::Status(status)));
    }
}

#[test]
fn the_answer_upgrades() {
    refused(&with(&good(), "Upgrade", None), ClientHandshakeError::UpgradeHeader);
    refused(&with(&good(), "Upgrade", Some("h2c")), ClientHandshakeError::UpgradeHeader);
    refused(&with(&good(), "Connection", None), ClientHandshakeError::ConnectionHeader);
    refused(&with(&good(), "Connection", Some("close")), ClientHandshakeError::ConnectionHeader);
}

#[test]
fn the_answer_fits_the_key() {
    refused(&with(&good(), "Sec-WebSocket-Accept", None), ClientHandshakeError::MissingAccept);
    refused(&with(&good(), "Sec-WebSocket-Accept", Some(KEY)), ClientHandshakeError::WrongAccept);
    // Base64 has upper and lower case.
    let lower = with(&good(), "Sec-WebSocket-Accept", Some("s3pplmbitxaq9kygzzhzrbk+xoo="));
    refused(&lower, ClientHandshakeError::WrongAccept);
    let twice = and(&good(), "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    refused(&twice, ClientHandshakeError::RepeatedAccept);
}

#[test]
fn the_subprotocol_is_one_that_was_offered() {
    let selected = |name| answer(&and(&good(), "Sec-WebSocket-Protocol", name));
    assert_eq!(selected("v1"), Ok(Some("v1".into())));
    assert_eq!(selected("v3"), Err(ClientHandshakeError::UnofferedSubprotocol));
    assert_eq!(selected("V1"), Err(ClientHandshakeError::UnofferedSubprotocol));
    assert_eq!(selected("v2, v1"), Err(ClientHandshakeError::UnofferedSubprotocol));
    assert_eq!(selected(""), Err(ClientHandshakeError::UnofferedSubprotocol));
    let twice = and(&and(&good(), "Sec-WebSocket-Protocol", "v1"), "sec-websocket-protocol", "v2");
    refused(&twice, ClientHandshakeError::RepeatedSubprotocol);
}

#[test]
fn an_extension_that_was_not_offered_is_refused() {
    let lines = and(&good(), "Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover");
    refused(&lines, ClientHandshakeError::UnofferedExtension("permessage-deflate".into()));
    let lines = and(&good(), "Sec-WebSocket-Extensions", "a b");
    refused(&lines, ClientHandshakeError::MalformedExtensions(ExtensionError::SeparatorExpected(2)));
}
