//! UTF-8 (RFC 6455 §8.1): the cases of Autobahn's group 6, and when they are noticed.

use nexios_proto::ProtocolError;

use crate::replay::{check, check_error, fails_after, masked, text};

const HEADER: usize = 6;

#[test]
fn text_of_all_lengths_of_character_is_read() {
    for sample in
        ["κόσμε", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}", "\u{fffe}", "Hello-µ@ßöäüàá-UTF-8!!"]
    {
        check(&masked(0x81, sample.as_bytes()), &[text(sample)]);
    }
}

#[test]
fn a_character_may_be_split_over_fragments() {
    let sample = "aκ€😀z".as_bytes();
    let frames: Vec<u8> = sample.iter().flat_map(|&byte| masked(0x00, &[byte])).collect();
    check(&[masked(0x01, b""), frames, masked(0x80, b"")].concat(), &[text("aκ€😀z")]);
}

#[test]
fn text_that_ends_inside_a_character_is_refused() {
    for cut in ["κ", "€", "😀"] {
        for end in 1..cut.len() {
            let bytes = [b"abc", &cut.as_bytes()[..end]].concat();
            check_error(&masked(0x81, &bytes), &[], ProtocolError::InvalidUtf8);
            let fragments = [masked(0x01, &bytes), masked(0x80, b"")].concat();
            check_error(&fragments, &[], ProtocolError::InvalidUtf8);
        }
    }
}

#[test]
fn what_is_not_utf8_is_refused_at_its_first_hopeless_byte() {
    let hopeless: [(&[u8], usize); 12] = [
        (b"\x80", 1),
        (b"\xbf\xbf", 1),
        (b"\xc0\x80", 1),
        (b"\xc1\xbf", 1),
        (b"\xc3\x28", 2),
        (b"\xe0\x9f\xbf", 2),
        (b"\xe2\x82\x28", 3),
        (b"\xed\xa0\x80", 2),
        (b"\xf0\x8f\xbf\xbf", 2),
        (b"\xf4\x90\x80\x80", 2),
        (b"\xf5\x80\x80\x80", 1),
        (b"\xff", 1),
    ];
    for (bytes, at) in hopeless {
        for before in ["", "ascii only", "κόσμε", "ends in €"] {
            let payload = [before.as_bytes(), bytes, b"and so on"].concat();
            check_error(&masked(0x81, &payload), &[], ProtocolError::InvalidUtf8);
            let failed = fails_after(&masked(0x81, &payload));
            assert_eq!(failed, Some(HEADER + before.len() + at), "{bytes:x?} after {before:?}");
        }
    }
}

#[test]
fn the_failure_is_noticed_inside_an_unfinished_frame() {
    // As Autobahn's 6.4.3: the first piece of the frame ends behind the hopeless byte.
    let payload = "κόσμε".bytes().chain([0xf4, 0x90, 0x80, 0x80]).chain(*b"edited").collect::<Vec<_>>();
    let frame = masked(0x81, &payload);
    let mut connection = nexios_proto::Connection::new(nexios_proto::Role::Server, nexios_proto::Limits::new());
    assert!(connection.receive(&mut frame[..HEADER + 11].to_vec()).is_ok());
    let second = connection.receive(&mut frame[HEADER + 11..HEADER + 12].to_vec());
    assert_eq!(second, Err(ProtocolError::InvalidUtf8));
}

#[test]
fn binary_messages_are_not_checked() {
    check(&masked(0x82, b"\xff\xfe"), &[crate::replay::binary(b"\xff\xfe")]);
}
