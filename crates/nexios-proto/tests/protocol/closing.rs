//! The closing handshake (RFC 6455 §7).

use nexios_proto::{CloseCode, CloseFrame, CloseState, Connection, Event, Limits, ProtocolError, Role};

use crate::replay::{KEY, check, check_error, feed, masked, text};

fn close(code: u16, reason: &str) -> Event {
    Event::Close(Some(CloseFrame::new(code, reason)))
}

fn close_bytes(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(0x88, &[&code.to_be_bytes(), reason].concat())
}

#[test]
fn a_close_frame_tells_its_code_and_reason() {
    check(&masked(0x88, b""), &[Event::Close(None)]);
    check(&close_bytes(1000, b""), &[close(1000, "")]);
    check(&close_bytes(1001, "schöner Tag".as_bytes()), &[close(1001, "schöner Tag")]);
    check(&close_bytes(4999, &[b'x'; 123]), &[close(4999, &"x".repeat(123))]);
}

#[test]
fn a_close_frame_of_one_byte_is_refused() {
    check_error(&masked(0x88, b"\x03"), &[], ProtocolError::TruncatedCloseCode);
}

#[test]
fn codes_that_must_not_be_sent_are_refused() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check_error(&close_bytes(code, b""), &[], ProtocolError::InvalidCloseCode(code));
    }
    for code in [1000, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999] {
        check(&close_bytes(code, b"why"), &[close(code, "why")]);
    }
}

#[test]
fn a_reason_that_is_not_utf8_is_refused() {
    check_error(&close_bytes(1000, b"\xce\xba\xe1\xbd"), &[], ProtocolError::InvalidCloseReason);
    assert_eq!(ProtocolError::InvalidCloseReason.close_code(), CloseCode::INVALID_PAYLOAD);
}

#[test]
fn after_a_close_frame_nothing_is_heard() {
    let bytes = [masked(0x81, b"before"), close_bytes(1000, b""), masked(0x81, b"after"), vec![0xff; 40]];
    check(&bytes.concat(), &[text("before"), close(1000, "")]);
}

#[test]
fn a_close_frame_inside_a_message_ends_it() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    let mut events = Vec::new();
    let bytes = [masked(0x01, b"never"), close_bytes(1001, b"")].concat();
    feed(&mut connection, &bytes, &mut events).unwrap();
    assert_eq!(events, [close(1001, "")]);
    assert!(!connection.is_mid_message());
    assert_eq!(connection.unfinished_bytes(), 0);
}

#[test]
fn the_peer_begins() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    assert_eq!(connection.close_state(), CloseState::Open);
    feed(&mut connection, &close_bytes(1000, b""), &mut Vec::new()).unwrap();
    assert_eq!(connection.close_state(), CloseState::CloseReceived);
    let mut out = Vec::new();
    assert!(connection.send_close(Some(&CloseFrame::new(1000, "")), None, &mut out));
    assert_eq!(out, [0x88, 2, 0x03, 0xe8]);
    assert_eq!(connection.close_state(), CloseState::Closed);
}

#[test]
fn this_end_begins_and_still_listens() {
    let mut connection = Connection::new(Role::Client, Limits::new());
    let mut out = Vec::new();
    assert!(connection.send_close(None, Some(KEY.into()), &mut out));
    assert_eq!(out, [0x88, 0x80, KEY[0], KEY[1], KEY[2], KEY[3]]);
    assert_eq!(connection.close_state(), CloseState::CloseSent);
    let mut events = Vec::new();
    feed(&mut connection, b"\x81\x04late\x88\x00", &mut events).unwrap();
    assert_eq!(events, [text("late"), Event::Close(None)]);
    assert_eq!(connection.close_state(), CloseState::Closed);
}

#[test]
fn a_close_frame_is_sent_once() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    let mut out = Vec::new();
    assert!(connection.send_close(None, None, &mut out));
    assert!(!connection.send_close(Some(&CloseFrame::new(1011, "again")), None, &mut out));
    assert_eq!(out, [0x88, 0]);
}

#[test]
fn a_failed_connection_can_say_why() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    let error = feed(&mut connection, &masked(0x83, b""), &mut Vec::new()).unwrap_err();
    let mut out = Vec::new();
    let frame = CloseFrame::new(error.close_code(), error.to_string());
    assert!(connection.send_close(Some(&frame), None, &mut out));
    assert_eq!(&out[..4], [0x88, 2 + 22, 0x03, 0xea]);
    assert_eq!(&out[4..], b"opcode 0x3 is reserved");
    assert_eq!(connection.close_state(), CloseState::CloseSent);
}

#[test]
fn a_reason_is_cut_at_a_character() {
    assert_eq!(CloseFrame::new(1000, "x".repeat(200)).reason(), "x".repeat(123));
    let frame = CloseFrame::new(CloseCode::NORMAL, "€".repeat(50));
    assert_eq!(frame.reason(), "€".repeat(41));
    assert_eq!(frame.code(), CloseCode::NORMAL);
    let frame = CloseFrame::new(1000, format!("x{}", "😀".repeat(40)));
    assert_eq!(frame.reason().len(), 121);
}

#[test]
fn a_code_that_must_not_be_sent_is_left_out() {
    for code in [0, 1005, 1006, 1015, 5000] {
        let mut out = Vec::new();
        nexios_proto::encode::close(Some(&CloseFrame::new(code, "why")), None, &mut out);
        assert_eq!(out, [0x88, 0]);
    }
}
