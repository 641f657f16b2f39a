//! What a peer may make this end inflate.

use std::time::{Duration, Instant};

use nexios_proto::{Compressor, Connection, Limit, Limits, ProtocolError, Role};

use super::{ALONE, TAKEOVER, check_with, compressed};
use crate::replay::{binary, feed, masked, replay_to, sample};

/// A megabyte that inflates to a gigabyte.
fn bomb() -> Vec<u8> {
    let mut compressor = Compressor::new(9, 15);
    let zeros = vec![0; 1024 * 1024];
    let mut once = Vec::new();
    for _ in 0..2 {
        once.clear();
        compressor.compress(&zeros, &mut once);
        // A sync flush that stays in the middle of the data.
        once.extend(b"\x00\x00\xff\xff");
    }
    // The second megabyte refers to nothing but zeros, and so can follow itself.
    let mut bomb = once.repeat(1023);
    bomb.splice(0..0, {
        let mut first = compressed(&zeros);
        first.extend(b"\x00\x00\xff\xff");
        first
    });
    bomb.push(0);
    bomb
}

#[test]
fn a_bomb_goes_off_at_the_limit() {
    let bomb = bomb();
    assert!((1_000_000..1_100_000).contains(&bomb.len()), "{} bytes", bomb.len());
    let frame = masked(0xc2, &bomb);
    for limit in [10, 1000, 65_536, 1_000_000, 1_048_576] {
        // The largest limit alone lets the frame pass by its own length.
        let fragments: Vec<u8> = frame_in_fragments(&bomb, if limit < 1_048_576 { 500 } else { bomb.len() });
        for params in [ALONE, TAKEOVER] {
            let mut connection = Connection::with_deflate(Role::Server, Limits::new().message_size(limit), params);
            let began = Instant::now();
            let error = feed(&mut connection, &fragments, &mut Vec::new()).unwrap_err();
            let Some(ProtocolError::MessageTooBig { size, limit: told }) = Some(error) else { panic!("{error}") };
            assert_eq!(told, limit);
            assert!(size > limit as u64 && size <= limit as u64 + 65_536, "{size} bytes at a limit of {limit}");
            assert!(began.elapsed() < Duration::from_secs(2));
            assert_eq!(connection.unfinished_bytes(), 0);
        }
    }
    let connection = Connection::with_deflate(Role::Server, Limits::new().message_size(1_000), ALONE);
    let error = ProtocolError::MessageTooBig { size: bomb.len() as u64, limit: 1000 };
    assert_eq!(replay_to(connection, &frame, []), (vec![], Some(error)));
}

fn frame_in_fragments(payload: &[u8], size: usize) -> Vec<u8> {
    let last = payload.len().div_ceil(size) - 1;
    let fragment = |(index, part): (usize, &[u8])| {
        let first = if index == 0 { 0x42 } else { 0 } | if index == last { 0x80 } else { 0 };
        masked(first, part)
    };
    payload.chunks(size).enumerate().flat_map(fragment).collect()
}

#[test]
fn the_limit_is_on_what_is_inflated_over_all_fragments() {
    let limits = Limits::new().message_size(1000);
    for (size, fits) in [(999, true), (1000, true), (1001, false)] {
        let payload = vec![7; size];
        let error = ProtocolError::MessageTooBig { size: size as u64, limit: 1000 };
        let outcome = if fits { (vec![binary(&payload)], None) } else { (vec![], Some(error)) };
        let payload = compressed(&payload);
        for step in [1, 3, 100] {
            check_with(ALONE, limits, &frame_in_fragments(&payload, step), &outcome);
        }
    }
    check_with(ALONE, Limits::new().message_size(0), &masked(0xc2, &[0]), &(vec![binary(b"")], None));
}

#[test]
fn a_message_at_the_limit_is_taken_at_every_size_of_the_buffer() {
    for limit in [65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 300_000] {
        let payload = sample(limit);
        let frame = masked(0xc2, &compressed(&payload));
        for (limit, fits) in [(limit, true), (limit - 1, false)] {
            let limits = Limits::new().message_size(limit);
            let (events, error) = replay_to(Connection::with_deflate(Role::Server, limits, TAKEOVER), &frame, []);
            assert_eq!((events == [binary(&payload)], error.is_none()), (fits, fits), "{limit}");
        }
    }
}

#[test]
fn data_that_cannot_be_compressed_may_be_a_little_longer_on_the_wire() {
    let stored = |size: u16| {
        let [low, high] = size.to_le_bytes();
        [&[0, low, high, !low, !high][..], &sample(size.into()), &[0]].concat()
    };
    let limits = Limits::new().message_size(1024);
    check_with(ALONE, limits, &masked(0xc2, &stored(1024)), &(vec![binary(&sample(1024))], None));
    // Empty stored blocks make it 1024 + 1 + 64 bytes at most.
    let padded = |blocks: usize| [&b"\0\0\0\xff\xff".repeat(blocks)[..], &stored(1024)].concat();
    check_with(ALONE, limits, &masked(0xc2, &padded(11)), &(vec![binary(&sample(1024))], None));
    let error = ProtocolError::MessageTooBig { size: 1090, limit: 1024 };
    check_with(ALONE, limits, &masked(0xc2, &padded(12)), &(vec![], Some(error)));
}

#[test]
fn the_limit_on_frames_is_on_the_wire() {
    let payload = compressed(&[0; 1000]);
    let limits = Limits::new().frame_size(payload.len());
    check_with(ALONE, limits, &masked(0xc2, &payload), &(vec![binary(&[0; 1000])], None));
    let error = ProtocolError::FrameTooBig { size: payload.len() as u64, limit: payload.len() - 1 };
    check_with(ALONE, limits.frame_size(payload.len() - 1), &masked(0xc2, &payload), &(vec![], Some(error)));
}

#[test]
fn without_a_limit_everything_is_inflated() {
    let payload = vec![1; 20 * 1024 * 1024];
    let limits = Limits::new().message_size(Limit::Unlimited);
    let frame = masked(0xc2, &compressed(&payload));
    let (events, error) = replay_to(Connection::with_deflate(Role::Server, limits, ALONE), &frame, []);
    assert_eq!(error, None);
    assert!(events == [binary(&payload)]);
}

#[test]
fn a_flood_of_streams_in_one_message_ends() {
    // A window to copy for each, and then empty blocks that are the last of their stream.
    let start = [compressed(&sample(32 * 1024)), b"\x00\x00\xff\xff".to_vec()].concat();
    let message = |streams: usize| masked(0xc2, &[&start[..], &b"\x03\x00".repeat(streams), &[0]].concat());
    for params in [ALONE, TAKEOVER] {
        let server = || Connection::with_deflate(Role::Server, Limits::new(), params);
        assert_eq!(replay_to(server(), &message(60), []).1, None);
        assert_eq!(replay_to(server(), &message(100_000), []).1, Some(ProtocolError::InvalidDeflate));
    }
}
