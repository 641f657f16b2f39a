//! What is written.

use nexios_proto::{MaskKey, Message, encode};

use crate::replay::{KEY, masked, plain};

#[test]
fn messages_are_one_frame_with_the_shortest_length() {
    let key = Some(MaskKey::from(KEY));
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; size];
        let text = String::from_utf8(payload.clone()).unwrap();
        let mut out = Vec::new();
        encode::text(&text, None, &mut out);
        assert_eq!(out, plain(0x81, &payload));
        out.clear();
        encode::text(&text, key, &mut out);
        assert_eq!(out, masked(0x81, &payload));
        out.clear();
        encode::binary(&payload, None, &mut out);
        assert_eq!(out, plain(0x82, &payload));
        out.clear();
        encode::binary(&payload, key, &mut out);
        assert_eq!(out, masked(0x82, &payload));
    }
}

#[test]
fn a_message_header_fits_the_message() {
    for message in [Message::from("x".repeat(300)), Message::from(vec![1; 5]), Message::from(vec![1; 70_000])] {
        let mut whole = Vec::new();
        encode::message(&message, None, &mut whole);
        let mut parts = Vec::new();
        encode::message_header(&message, &mut parts);
        parts.extend(message.as_bytes());
        assert_eq!(whole, parts);
    }
}

#[test]
fn frames_are_appended() {
    let mut out = b"before".to_vec();
    encode::ping(b"a", None, &mut out);
    encode::pong(b"b", Some(KEY.into()), &mut out);
    assert_eq!(out, [&b"before"[..], &plain(0x89, b"a"), &masked(0x8a, b"b")].concat());
}

#[test]
fn a_control_payload_is_cut_at_125_bytes() {
    let mut out = Vec::new();
    encode::ping(&[1; 200], None, &mut out);
    encode::pong(&[2; 126], None, &mut out);
    assert_eq!(out, [plain(0x89, &[1; 125]), plain(0x8a, &[2; 125])].concat());
}
