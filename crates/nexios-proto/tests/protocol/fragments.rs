//! Messages of several frames (RFC 6455 §5.4).

use nexios_proto::{Connection, Event, Limits, ProtocolError, Role};

use crate::replay::{binary, check, check_error, feed, masked, ping, pong, text};

#[test]
fn fragments_become_one_message() {
    check(&[masked(0x01, b"Hel"), masked(0x00, b"lo "), masked(0x80, b"you")].concat(), &[text("Hello you")]);
    check(&[masked(0x02, &[1]), masked(0x80, &[2])].concat(), &[binary(&[1, 2])]);
}

#[test]
fn empty_fragments_are_allowed() {
    check(&[masked(0x01, b""), masked(0x00, b""), masked(0x80, b"")].concat(), &[text("")]);
    check(&[masked(0x01, b""), masked(0x00, b"x"), masked(0x80, b"")].concat(), &[text("x")]);
}

#[test]
fn control_frames_come_through_between_fragments() {
    let bytes = [
        masked(0x01, b"Hel"),
        masked(0x89, b"first"),
        masked(0x00, b"l"),
        masked(0x8a, b""),
        masked(0x89, &[9; 125]),
        masked(0x80, b"o"),
        masked(0x81, b"next"),
    ];
    check(&bytes.concat(), &[ping(b"first"), pong(b""), ping(&[9; 125]), text("Hello"), text("next")]);
}

#[test]
fn a_continuation_needs_a_message() {
    check_error(&masked(0x80, b"x"), &[], ProtocolError::UnexpectedContinuation);
    check_error(&masked(0x00, b"x"), &[], ProtocolError::UnexpectedContinuation);
    let bytes = [masked(0x01, b"a"), masked(0x80, b"b"), masked(0x80, b"c")].concat();
    check_error(&bytes, &[text("ab")], ProtocolError::UnexpectedContinuation);
}

#[test]
fn a_message_inside_a_message_is_refused() {
    for first in [0x01, 0x02, 0x81, 0x82] {
        let bytes = [masked(0x01, b"a"), masked(first, b"b")].concat();
        check_error(&bytes, &[], ProtocolError::InterruptedMessage);
    }
}

#[test]
fn an_unfinished_message_is_seen_from_outside() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    let mut events = Vec::new();
    feed(&mut connection, &masked(0x01, b"Hel"), &mut events).unwrap();
    assert!(connection.is_mid_message());
    assert_eq!(connection.unfinished_bytes(), 3);
    feed(&mut connection, &masked(0x89, b"ping")[..8], &mut events).unwrap();
    assert_eq!(connection.unfinished_bytes(), 5, "a part of a control frame counts");
    feed(&mut connection, &masked(0x89, b"ping")[8..], &mut events).unwrap();
    assert_eq!(connection.unfinished_bytes(), 3);
    feed(&mut connection, &masked(0x80, b"lo"), &mut events).unwrap();
    assert!(!connection.is_mid_message());
    assert_eq!(connection.unfinished_bytes(), 0);
    assert_eq!(events, [ping(b"ping"), text("Hello")]);
}

#[test]
fn a_frame_in_pieces_is_an_unfinished_message() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    let mut events = Vec::new();
    let frame = masked(0x82, &[5; 100]);
    feed(&mut connection, &frame[..3], &mut events).unwrap();
    assert!(!connection.is_mid_message(), "nothing but a part of a header");
    feed(&mut connection, &frame[3..50], &mut events).unwrap();
    assert!(connection.is_mid_message());
    feed(&mut connection, &frame[50..], &mut events).unwrap();
    assert!(!connection.is_mid_message());
    assert_eq!(events, [binary(&[5; 100])]);
}

#[test]
fn a_message_survives_the_connection_and_the_next_message() {
    let mut connection = Connection::new(Role::Server, Limits::new());
    let mut events = Vec::new();
    for byte in 0..3 {
        let frame = masked(0x82, &[byte; 1000]);
        feed(&mut connection, &frame[..400], &mut events).unwrap();
        feed(&mut connection, &frame[400..], &mut events).unwrap();
    }
    drop(connection);
    let expected: Vec<Event> = (0..3).map(|byte| binary(&[byte; 1000])).collect();
    assert_eq!(events, expected);
}
