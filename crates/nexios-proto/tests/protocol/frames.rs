//! Single frames, and what is wrong with them.

use nexios_proto::{Limits, ProtocolError, Role};

use crate::replay::{
    binary, check, check_as, check_error, fails_after, masked, masked_header, ping, plain, pong, sample, text,
};

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 6455 §5.7.
    let server = |bytes: &[u8], event| check(bytes, &[event]);
    let client = |bytes: &[u8], event| check_as(Role::Client, Limits::new(), bytes, &(vec![event], None));
    client(b"\x81\x05Hello", text("Hello"));
    server(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", text("Hello"));
    client(b"\x01\x03Hel\x80\x02lo", text("Hello"));
    client(b"\x89\x05Hello", ping(b"Hello"));
    server(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", pong(b"Hello"));
    client(&[&b"\x82\x7e\x01\x00"[..], &[7; 256]].concat(), binary(&[7; 256]));
}

#[test]
fn every_length_form_is_read() {
    for size in [0, 1, 7, 8, 9, 124, 125, 126, 127, 128, 1000] {
        let payload = sample(size);
        check(&masked(0x82, &payload), &[binary(&payload)]);
        let ascii = "x".repeat(size);
        check(&masked(0x81, ascii.as_bytes()), &[text(&ascii)]);
    }
}

#[test]
fn long_frames_are_read_whole_and_in_pieces() {
    for size in [65_535, 65_536, 100_000] {
        let payload = sample(size);
        let frame = masked(0x82, &payload);
        for pieces in [vec![], vec![5, 9, 40_000, 20_000], vec![4096; 20]] {
            let outcome = crate::replay::replay(Role::Server, Limits::new(), &frame, pieces);
            assert_eq!(outcome, (vec![binary(&payload)], None));
        }
    }
}

#[test]
fn several_frames_in_one_read_come_one_after_the_other() {
    let bytes = [masked(0x81, b"one"), masked(0x89, b"two"), masked(0x82, b""), masked(0x81, "drei€".as_bytes())];
    check(&bytes.concat(), &[text("one"), ping(b"two"), binary(b""), text("drei€")]);
}

#[test]
fn the_rest_of_a_header_is_not_taken_for_a_frame() {
    // Behind its first byte this frame reads like an empty text, or one of a byte.
    check(&[0x82, 0x81, 0x80, 0, 0, 0, b'x'], &[binary(&[b'x' ^ 0x80])]);
    check(&[0x82, 0x81, 0x81, 0, 0, 0, b'x'], &[binary(&[b'x' ^ 0x81])]);
    check(&[0x82, 0x82, 0x80, 0, 0, 0, 1, 2], &[binary(&[0x81, 2])]);
}

#[test]
fn an_empty_input_changes_nothing() {
    let mut connection = nexios_proto::Connection::new(Role::Server, Limits::new());
    let received = connection.receive(&mut []).unwrap();
    assert_eq!((received.consumed, received.event), (0, None));
}

#[test]
fn a_control_frame_carries_up_to_125_bytes() {
    check(&masked(0x89, &[1; 125]), &[ping(&[1; 125])]);
    check(&masked(0x8a, b""), &[pong(b"")]);
    check_error(&masked(0x89, &[1; 126]), &[], ProtocolError::ControlTooLong);
    check_error(&masked_header(0x88, 70_000), &[], ProtocolError::ControlTooLong);
}

#[test]
fn a_control_frame_is_never_fragmented() {
    for first in [0x08, 0x09, 0x0a] {
        check_error(&masked(first, b""), &[], ProtocolError::FragmentedControl);
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        check_error(&masked(0x80 | opcode, b"x"), &[], ProtocolError::ReservedOpcode(opcode));
    }
}

#[test]
fn reserved_bits_are_refused() {
    for bits in 1..8 {
        for opcode in [1, 2, 9] {
            check_error(&masked(0x80 | bits << 4 | opcode, b"x"), &[], ProtocolError::ReservedBits(bits));
        }
    }
}

#[test]
fn an_unmasked_frame_of_a_client_is_refused() {
    check_error(&plain(0x81, b"Hello"), &[], ProtocolError::UnmaskedFrame);
    check_error(&plain(0x89, b""), &[], ProtocolError::UnmaskedFrame);
    assert_eq!(fails_after(&plain(0x81, b"Hello")), Some(2));
}

#[test]
fn a_masked_frame_of_a_server_is_refused() {
    let outcome = (vec![], Some(ProtocolError::MaskedFrame));
    check_as(Role::Client, Limits::new(), &masked(0x81, b"Hello"), &outcome);
}

#[test]
fn a_length_has_one_form() {
    let with = |length: &[u8]| [&[0x82], length, &[0; 4]].concat();
    for length in [0, 1, 125] {
        let error = ProtocolError::LengthNotMinimal(u64::from(length));
        check_error(&with(&[0xfe, 0, length]), &[], error);
        check_error(&with(&[0xff, 0, 0, 0, 0, 0, 0, 0, length]), &[], error);
    }
    check_error(&with(&[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), &[], ProtocolError::LengthNotMinimal(65_535));
    let top_bit = [0xff, 0x80, 0, 0, 0, 0, 0, 0, 1];
    check_error(&with(&top_bit), &[], ProtocolError::LengthTopBit);
}

#[test]
fn each_header_field_is_checked_as_soon_as_it_is_there() {
    assert_eq!(fails_after(&masked(0x83, b"x")), Some(1), "opcode");
    assert_eq!(fails_after(&masked(0xc1, b"x")), Some(1), "reserved bit");
    assert_eq!(fails_after(&masked(0x09, b"x")), Some(1), "fragmented control frame");
    assert_eq!(fails_after(&masked(0x89, &[0; 126])), Some(2), "length of a control frame");
    assert_eq!(fails_after(&masked(0x80, b"x")), Some(2), "continuation");
    assert_eq!(fails_after(&[0x82, 0xfe, 0, 9, 0, 0, 0, 0]), Some(4), "form of the length");
    assert_eq!(fails_after(&masked_header(0x82, 1 << 40)), Some(10), "limit");
}

#[test]
fn after_an_error_everything_is_consumed_and_ignored() {
    let mut connection = nexios_proto::Connection::new(Role::Server, Limits::new());
    assert_eq!(connection.receive(&mut masked(0x83, b"x")), Err(ProtocolError::ReservedOpcode(3)));
    let mut frame = masked(0x81, b"Hello");
    let received = connection.receive(&mut frame).unwrap();
    assert_eq!((received.consumed, received.event), (frame.len(), None));
    assert_eq!(connection.unfinished_bytes(), 0);
}
