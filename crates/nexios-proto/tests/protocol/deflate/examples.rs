//! The examples of RFC 7692 §7.2.3.

use nexios_proto::{Compressor, Connection, Limits, Role};

use super::{ALONE, TAKEOVER, check_with, refuses};
use crate::replay::{Outcome, masked, ping, plain, replay_to, text};

/// "Hello" as §7.2.3.1 has it.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
/// "Hello" again, in the same window (§7.2.3.2).
const HELLO_AGAIN: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];

fn hello(times: usize) -> Outcome {
    (vec![text("Hello"); times], None)
}

#[track_caller]
fn is_hello(payload: &[u8]) {
    for params in [ALONE, TAKEOVER] {
        check_with(params, Limits::new(), &masked(0xc1, payload), &hello(1));
        let outcome =
            replay_to(Connection::with_deflate(Role::Client, Limits::new(), params), &plain(0xc1, payload), []);
        assert_eq!(outcome, hello(1));
    }
}

#[test]
fn one_block() {
    is_hello(HELLO);
    let fragments = [masked(0x41, &HELLO[..3]), masked(0x89, b"between"), masked(0x80, &HELLO[3..])].concat();
    check_with(ALONE, Limits::new(), &fragments, &(vec![ping(b"between"), text("Hello")], None));
    let fragments = [masked(0x41, b""), masked(0x00, HELLO), masked(0x80, b"")].concat();
    check_with(ALONE, Limits::new(), &fragments, &hello(1));
}

#[test]
fn a_shared_window() {
    let twice = [masked(0xc1, HELLO), masked(0xc1, HELLO_AGAIN)].concat();
    check_with(TAKEOVER, Limits::new(), &twice, &hello(2));
    // Plain messages are not part of it.
    let between = [masked(0xc1, HELLO), masked(0x81, b"other"), masked(0xc1, HELLO_AGAIN)].concat();
    check_with(TAKEOVER, Limits::new(), &between, &(vec![text("Hello"), text("other"), text("Hello")], None));
    // Without context takeover there is no window to share, be it in memory or not.
    check_with(ALONE, Limits::new(), &masked(0xc1, HELLO).repeat(2), &hello(2));
    let error = nexios_proto::ProtocolError::InvalidDeflate;
    check_with(ALONE, Limits::new(), &twice, &(vec![text("Hello")], Some(error)));
    refuses(TAKEOVER, &masked(0xc1, HELLO_AGAIN), error);
}

#[test]
fn a_block_without_compression() {
    is_hello(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]);
}

#[test]
fn a_block_with_bfinal() {
    is_hello(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]);
    // Senders that leave out the empty block behind it are understood.
    is_hello(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    // The empty block may have the flag itself.
    is_hello(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff, 0x01]);
}

#[test]
fn behind_bfinal_a_stream_begins_in_the_messages_own_window() {
    let bfinal = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let twice = masked(0xc1, &[&bfinal[..], HELLO_AGAIN].concat());
    check_with(TAKEOVER, Limits::new(), &twice, &(vec![text("HelloHello")], None));
    let next = [masked(0xc1, &[&bfinal[..], &[0]].concat()), masked(0xc1, HELLO_AGAIN)].concat();
    check_with(TAKEOVER, Limits::new(), &next, &hello(2));
    refuses(ALONE, &twice, nexios_proto::ProtocolError::InvalidDeflate);
}

#[test]
fn two_blocks() {
    is_hello(&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]);
}

#[test]
fn an_empty_message() {
    for payload in [&[0x00][..], &[0x02, 0x00], &[]] {
        let frames = [masked(0xc1, payload), masked(0xc1, HELLO), masked(0xc1, payload), masked(0xc1, HELLO_AGAIN)];
        let outcome = (vec![text(""), text("Hello"), text(""), text("Hello")], None);
        check_with(TAKEOVER, Limits::new(), &frames.concat(), &outcome);
    }
    let mut out = Vec::new();
    let mut compressor = Compressor::new(6, 15);
    for _ in 0..3 {
        compressor.compress(b"", &mut out);
    }
    assert_eq!(out, [0, 0, 0]);
}

#[test]
fn a_compressor_makes_them_too() {
    // The fast levels take other ways.
    for level in 4..=9 {
        for window_bits in 9..=15 {
            let mut compressor = Compressor::new(level, window_bits);
            let mut out = Vec::new();
            compressor.compress(b"Hello", &mut out);
            assert_eq!(out, HELLO, "level {level}, {window_bits} bits");
            compressor.compress(b"Hello", &mut out);
            assert_eq!(out[HELLO.len()..], *HELLO_AGAIN, "level {level}, {window_bits} bits");
            compressor.reset();
            out.clear();
            compressor.compress(b"Hello", &mut out);
            assert_eq!(out, HELLO, "level {level}, {window_bits} bits, after a reset");
        }
    }
}
