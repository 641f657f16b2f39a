//! What a peer may make this end keep.

use nexios_proto::{CloseCode, Limit, Limits, ProtocolError, Role};

use crate::replay::{binary, check_as, masked, masked_header, ping};

#[track_caller]
fn refuses(limits: Limits, bytes: &[u8], error: ProtocolError) {
    check_as(Role::Server, limits, bytes, &(vec![], Some(error)));
}

#[test]
fn the_defaults_are_finite() {
    let limits = Limits::default();
    assert_eq!(limits.message_size, Limit::At(1_048_576));
    assert_eq!(limits.frame_size, Limit::Unlimited);
    assert_eq!(limits.fragments, Limit::At(16_384));
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_announced_length() {
    let error = ProtocolError::MessageTooBig { size: 1_048_577, limit: 1_048_576 };
    refuses(Limits::new(), &masked_header(0x82, 1_048_577), error);
    assert_eq!(error.close_code(), CloseCode::MESSAGE_TOO_BIG);
    assert_eq!(error.to_string(), "a message of at least 1048577 bytes is over the limit of 1048576");
    let largest = i64::MAX as u64;
    refuses(
        Limits::new(),
        &masked_header(0x81, largest),
        ProtocolError::MessageTooBig { size: largest, limit: 1_048_576 },
    );
}

#[test]
fn a_message_is_measured_over_all_its_fragments() {
    let limits = Limits::new().message_size(10);
    let allowed = [masked(0x02, &[1; 6]), masked(0x80, &[1; 4])].concat();
    check_as(Role::Server, limits, &allowed, &(vec![binary(&[1; 10])], None));
    let refused = [masked(0x02, &[1; 6]), masked(0x80, &[1; 5])].concat();
    refuses(limits, &refused, ProtocolError::MessageTooBig { size: 11, limit: 10 });
}

#[test]
fn a_whole_frame_at_the_limit_is_taken_and_one_over_it_is_not() {
    let limits = Limits::new().message_size(200);
    check_as(Role::Server, limits, &masked(0x82, &[1; 200]), &(vec![binary(&[1; 200])], None));
    refuses(limits, &masked(0x82, &[1; 201]), ProtocolError::MessageTooBig { size: 201, limit: 200 });
}

#[test]
fn a_frame_has_its_own_limit() {
    let limits = Limits::new().frame_size(5);
    let allowed = [masked(0x02, &[1; 5]), masked(0x80, &[1; 5])].concat();
    check_as(Role::Server, limits, &allowed, &(vec![binary(&[1; 10])], None));
    refuses(limits, &masked(0x82, &[1; 6]), ProtocolError::FrameTooBig { size: 6, limit: 5 });
    refuses(limits, &masked(0x02, &[1; 6]), ProtocolError::FrameTooBig { size: 6, limit: 5 });
}

#[test]
fn control_frames_are_outside_the_limits() {
    let limits = Limits::new().message_size(0).frame_size(0).fragments(0);
    check_as(Role::Server, limits, &masked(0x89, &[1; 125]), &(vec![ping(&[1; 125])], None));
}

#[test]
fn zero_is_a_limit() {
    let limits = Limits::new().message_size(0);
    check_as(Role::Server, limits, &masked(0x82, b""), &(vec![binary(b"")], None));
    refuses(limits, &masked(0x82, b"x"), ProtocolError::MessageTooBig { size: 1, limit: 0 });
}

#[test]
fn fragments_are_counted_and_empty_ones_too() {
    let limits = Limits::new().fragments(3);
    let first = masked(0x02, b"");
    let empty = masked(0x00, b"");
    let last = masked(0x80, b"");
    let three = [&first[..], &empty, &last].concat();
    check_as(Role::Server, limits, &[&three[..], &three].concat(), &(vec![binary(b""), binary(b"")], None));
    let error = ProtocolError::TooManyFragments { limit: 3 };
    refuses(limits, &[&first[..], &empty, &empty, &last].concat(), error);
    assert_eq!(error.close_code(), CloseCode::POLICY_VIOLATION);
}

#[test]
fn a_limit_of_no_fragments_lets_no_message_pass() {
    let error = ProtocolError::TooManyFragments { limit: 0 };
    refuses(Limits::new().fragments(0), &masked(0x82, b""), error);
}

#[test]
fn a_flood_of_fragments_ends_at_the_default_limit() {
    let mut bytes = masked(0x02, b"");
    for _ in 1..16_385 {
        bytes.extend(masked(0x00, b""));
    }
    let outcome = crate::replay::replay(Role::Server, Limits::new(), &bytes, []);
    assert_eq!(outcome, (vec![], Some(ProtocolError::TooManyFragments { limit: 16_384 })));
    let unlimited = Limits::new().fragments(Limit::Unlimited);
    assert_eq!(crate::replay::replay(Role::Server, unlimited, &bytes, []), (vec![], None));
}

#[test]
fn without_limits_the_announced_length_still_takes_no_memory() {
    let limits = Limits::new().message_size(Limit::Unlimited).frame_size(Limit::Unlimited).fragments(Limit::Unlimited);
    let mut connection = nexios_proto::Connection::new(Role::Server, limits);
    let mut header = masked_header(0x82, i64::MAX as u64);
    assert_eq!(connection.receive(&mut header).unwrap().event, None);
    assert_eq!(connection.receive(&mut [0; 1000]).unwrap().consumed, 1000);
    assert_eq!(connection.unfinished_bytes(), 1000);
    let second = connection.receive(&mut [0; 1000]).unwrap();
    assert_eq!((second.consumed, second.event), (1000, None));
}
