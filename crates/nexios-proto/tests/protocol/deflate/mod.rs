//! Compressed messages (RFC 7692).

mod bombs;
mod examples;
mod placement;
mod properties;
mod twin;

use nexios_proto::{Compressor, Connection, Limits, ProtocolError, Role, handshake::deflate::DeflateParams};

use crate::replay::{Outcome, replay_to};

/// Every message by itself.
const ALONE: DeflateParams = DeflateParams {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

/// Messages may refer to earlier ones.
const TAKEOVER: DeflateParams =
    DeflateParams { server_no_context_takeover: false, client_no_context_takeover: false, ..ALONE };

/// Checks what a server's end makes of `bytes`: at once, byte by byte, and cut in two at every place.
#[track_caller]
fn check_with(params: DeflateParams, limits: Limits, bytes: &[u8], outcome: &Outcome) {
    let server = || Connection::with_deflate(Role::Server, limits, params);
    assert_eq!(&replay_to(server(), bytes, []), outcome, "at once");
    assert_eq!(&replay_to(server(), bytes, std::iter::repeat_n(1, bytes.len())), outcome, "byte by byte");
    for cut in 1..bytes.len().min(500) {
        assert_eq!(&replay_to(server(), bytes, [cut]), outcome, "cut at byte {cut}");
    }
}

#[track_caller]
fn refuses(params: DeflateParams, bytes: &[u8], error: ProtocolError) {
    check_with(params, Limits::new(), bytes, &(vec![], Some(error)));
}

/// The payload of a compressed frame, by a compressor that knows nothing else.
fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(9, 15).compress(payload, &mut out);
    out
}
