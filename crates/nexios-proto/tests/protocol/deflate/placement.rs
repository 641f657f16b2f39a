//! Where RSV1 may stand, and what is wrong with compressed messages.

use nexios_proto::{CloseCode, Connection, DIRECT_READ_MIN, Limits, MaskKey, ProtocolError, Role, encode};

use super::{ALONE, TAKEOVER, check_with, compressed, refuses};
use crate::replay::{KEY, binary, feed, masked, masked_header, plain, replay_to, sample, text};

#[test]
fn rsv1_stands_on_the_first_frame_of_a_message_alone() {
    let rsv1 = ProtocolError::ReservedBits(4);
    for opcode in [8, 9, 10] {
        refuses(ALONE, &masked(0xc0 | opcode, b""), rsv1);
    }
    refuses(ALONE, &masked(0xc0, b""), rsv1);
    let payload = compressed(b"Hello");
    refuses(ALONE, &[masked(0x41, &payload[..2]), masked(0xc0, &payload[2..])].concat(), rsv1);
    refuses(ALONE, &[masked(0x01, b"Hel"), masked(0xc0, b"lo")].concat(), rsv1);
    refuses(ALONE, &[masked(0x41, &payload[..2]), masked(0xc9, b"")].concat(), rsv1);
    refuses(ALONE, &[masked(0x41, &payload), masked(0xc1, &payload)].concat(), ProtocolError::InterruptedMessage);
    assert_eq!(rsv1.close_code(), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn rsv1_is_refused_where_nothing_was_negotiated() {
    let outcome = crate::replay::replay(Role::Server, Limits::new(), &masked(0xc1, &compressed(b"Hello")), []);
    assert_eq!(outcome, (vec![], Some(ProtocolError::ReservedBits(4))));
}

#[test]
fn the_other_reserved_bits_stay_reserved() {
    for bits in [1, 2, 3] {
        for opcode in [0, 1, 2, 8, 9, 10] {
            refuses(ALONE, &masked(0x80 | bits << 4 | opcode, b""), ProtocolError::ReservedBits(bits));
        }
        refuses(ALONE, &masked(0xc1 | bits << 4, b""), ProtocolError::ReservedBits(bits));
    }
}

#[test]
fn masking_is_as_for_plain_frames() {
    refuses(ALONE, &plain(0xc1, &compressed(b"Hello")), ProtocolError::UnmaskedFrame);
}

#[test]
fn what_deflate_never_makes_is_refused() {
    let invalid = ProtocolError::InvalidDeflate;
    for payload in [
        // A block of the reserved type.
        &[0x06][..],
        &[0x07, 0x00],
        // The length of a stored block and its complement differ.
        &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        // A dynamic block with more codes than there are.
        &[0xfc, 0xff, 0xff],
        // The distance code 30.
        &[0x02, 0x1f, 0x00],
        &[0xff, 0xff, 0xff, 0xff],
        b"Hello",
    ] {
        for params in [ALONE, TAKEOVER] {
            refuses(params, &masked(0xc1, payload), invalid);
            refuses(params, &masked(0xc2, payload), invalid);
        }
    }
    assert_eq!(invalid.close_code(), CloseCode::INVALID_PAYLOAD);
    assert_eq!(invalid.to_string(), "a compressed message cannot be inflated");
}

#[test]
fn data_that_ends_inside_a_block_is_refused() {
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    let fixed = compressed(b"Hello");
    let dynamic = compressed(&[&sample(251)[..], &b"abcdefgh".repeat(200)].concat());
    for payload in [&stored[..], &fixed, &dynamic] {
        // The first byte of the stored one is a whole, empty message.
        for end in 1 + usize::from(payload[0] == 0)..payload.len() {
            for params in [ALONE, TAKEOVER] {
                refuses(params, &masked(0xc2, &payload[..end]), ProtocolError::InvalidDeflate);
            }
        }
    }
}

#[test]
fn data_that_ends_inside_a_list_of_codes_is_refused() {
    // The codes of the list are as long as they can be, so that it takes as many bytes as it can until it is whole.
    let lists: [&[u8]; 4] = [
        &[0xec, 0xfd, 0x59, 0x92, 0xa4, 0x49, 0x92, 0x34, 0x48, 0xb2],
        &[0xec, 0xfd, 0x49, 0x93, 0x24, 0x59, 0x9e, 0x24, 0xc9, 0x37],
        &[0xec, 0xfd, 0x49, 0xb6, 0x24, 0x4b, 0x92, 0x6d, 0x49, 0x1e, 0xc6],
        &[0xec, 0xfd, 0x4d, 0x96, 0x24, 0x49, 0x92, 0x24, 0x7f, 0x7a, 0x5e],
    ];
    for list in lists {
        for params in [ALONE, TAKEOVER] {
            refuses(params, &masked(0xc2, list), ProtocolError::InvalidDeflate);
        }
    }
}

#[test]
fn a_distance_goes_no_further_back_than_to_the_beginning() {
    // "a", and a copy of three bytes from a distance of 2, or of 1.
    let copy = |distance: u8| [0x4a, 0x04, 0x02 | (distance - 1) << 6, 0x00, 0x00];
    check_with(ALONE, Limits::new(), &masked(0xc1, &copy(1)), &(vec![text("aaaa")], None));
    refuses(ALONE, &masked(0xc1, &copy(2)), ProtocolError::InvalidDeflate);
}

#[test]
fn nothing_of_another_connection_is_ever_in_the_window() {
    // Both connections take the same inflater from their thread.
    let (hello, again) = ([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], [0xf2, 0x00, 0x11, 0x00, 0x00]);
    for params in [ALONE, TAKEOVER] {
        check_with(params, Limits::new(), &masked(0xc1, &hello), &(vec![text("Hello")], None));
        refuses(params, &masked(0xc1, &again), ProtocolError::InvalidDeflate);
    }
}

#[test]
fn text_is_utf8_once_it_is_inflated() {
    let long = "Nexios – 世界 🌍 ".repeat(200);
    check_with(ALONE, Limits::new(), &masked(0xc1, &compressed(long.as_bytes())), &(vec![text(&long)], None));
    let bad = [&b"a".repeat(1000)[..], b"\xe2\x82", &b"b".repeat(1000)].concat();
    refuses(ALONE, &masked(0xc1, &compressed(&bad)), ProtocolError::InvalidUtf8);
    refuses(ALONE, &masked(0xc1, &compressed(b"open \xe2\x82")), ProtocolError::InvalidUtf8);
    check_with(ALONE, Limits::new(), &masked(0xc2, &compressed(&bad)), &(vec![binary(&bad)], None));
}

#[test]
fn large_messages_stream_through() {
    let noise: Vec<u8> =
        (0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).rotate_left(i % 32).to_be_bytes()).collect();
    let mixed = [&noise[..], &sample(400_000)].concat();
    let frame = masked(0xc2, &compressed(&mixed));
    for params in [ALONE, TAKEOVER] {
        for piece in [1000, 32 * 1024, 100_000, frame.len()] {
            let connection = Connection::with_deflate(Role::Server, Limits::new(), params);
            let pieces = std::iter::repeat_n(piece, frame.len() / piece);
            assert_eq!(replay_to(connection, &frame, pieces), (vec![binary(&mixed)], None));
        }
    }
}

#[test]
fn compressed_frames_are_not_read_in_place() {
    let mut connection = Connection::with_deflate(Role::Server, Limits::new(), ALONE);
    feed(&mut connection, &masked_header(0xc2, 10 * DIRECT_READ_MIN as u64), &mut Vec::new()).unwrap();
    assert!(connection.payload_buffer().is_none());
    let mut connection = Connection::with_deflate(Role::Server, Limits::new(), ALONE);
    feed(&mut connection, &masked_header(0x82, 10 * DIRECT_READ_MIN as u64), &mut Vec::new()).unwrap();
    assert!(connection.payload_buffer().is_some());
}

#[test]
fn memory_is_held_where_it_must_be() {
    const INFLATER: usize = 40 * 1024;
    let payload = compressed(b"Hello");
    for (params, between) in [(ALONE, 0), (TAKEOVER, INFLATER)] {
        let mut connection = Connection::with_deflate(Role::Server, Limits::new(), params);
        assert_eq!(connection.unfinished_bytes(), 0, "no message was compressed yet");
        feed(&mut connection, &masked(0x81, b"Hello"), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), 0, "still none");
        feed(&mut connection, &masked(0xc1, &payload), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), between);
        assert!(!connection.is_mid_message());
        feed(&mut connection, &masked(0x41, &payload[..4]), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), between + 4);
        assert!(connection.is_mid_message());
        feed(&mut connection, &masked(0x80, &payload[4..]), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), between);
        // 33 KiB that are stored as they are: the first 32 are inflated.
        let stored = [&[0, 0, 0x84, 0xff, 0x7b][..], &[7; 33].repeat(1024), &[0]].concat();
        feed(&mut connection, &masked(0x42, &stored), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), INFLATER + stored.len() - 5);
        feed(&mut connection, &masked(0x80, b""), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), between);
        feed(&mut connection, &masked(0x88, b""), &mut Vec::new()).unwrap();
        assert_eq!(connection.unfinished_bytes(), 0, "the end needs nothing");
    }
}

#[test]
fn compressed_frames_are_written_with_rsv1() {
    let mut out = Vec::new();
    encode::compressed(true, b"abc", None, &mut out);
    encode::compressed(false, b"", Some(MaskKey::from(KEY)), &mut out);
    encode::compressed_header(true, 126, &mut out);
    encode::compressed_header(false, 70_000, &mut out);
    let expected: [&[u8]; 4] =
        [b"\xc1\x03abc", b"\xc2\x80\x37\xfa\x21\x3d", b"\xc1\x7e\x00\x7e", b"\xc2\x7f\0\0\0\0\0\x01\x11\x70"];
    assert_eq!(out, expected.concat());
}
