//! Reading the middle of a large frame into the connection's own buffer.

use bytes::BufMut;
use nexios_proto::{Connection, DIRECT_READ_MIN, Limit, Limits, Message, ProtocolError, Role};

use crate::replay::{binary, feed, feed_directly, masked, masked_header, ping, sample, text};

fn unlimited() -> Connection {
    Connection::new(Role::Server, Limits::new().message_size(Limit::Unlimited))
}

#[test]
fn the_buffer_is_lent_in_the_middle_of_large_data_frames_only() {
    let mut connection = unlimited();
    assert!(connection.payload_buffer().is_none(), "between messages");
    feed(&mut connection, &masked_header(0x82, 100), &mut Vec::new()).unwrap();
    assert!(connection.payload_buffer().is_none(), "a small frame");
    let mut connection = unlimited();
    feed(&mut connection, &masked_header(0x82, DIRECT_READ_MIN as u64), &mut Vec::new()).unwrap();
    assert!(connection.payload_buffer().is_some());
    feed(&mut connection, &[0], &mut Vec::new()).unwrap();
    assert!(connection.payload_buffer().is_none(), "too little is missing");
}

#[test]
fn messages_are_the_same_as_by_receive() {
    let long: String = "Nexios – 世界 🌍 ".repeat(20_000);
    let bytes = sample(300_000);
    let stream = [
        masked(0x81, long.as_bytes()),
        masked(0x02, &bytes),
        masked(0x89, b"between"),
        masked(0x80, &bytes),
        masked(0x82, b"end"),
    ]
    .concat();
    for piece in [10_000, 70_000, stream.len()] {
        let mut connection = Connection::new(Role::Server, Limits::new());
        let mut events = Vec::new();
        for piece in stream.chunks(piece) {
            feed_directly(&mut connection, piece, &mut events).unwrap();
        }
        let twice = [&bytes[..], &bytes].concat();
        assert_eq!(events, [text(&long), ping(b"between"), binary(&twice), binary(b"end")]);
        assert_eq!(connection.unfinished_bytes(), 0);
    }
}

#[test]
fn a_clients_end_reads_directly_too() {
    let payload = vec![7; 200_000];
    let frame = crate::replay::plain(0x82, &payload);
    let mut connection = Connection::new(Role::Client, Limits::new());
    let mut events = Vec::new();
    for piece in frame.chunks(50_000) {
        feed_directly(&mut connection, piece, &mut events).unwrap();
    }
    assert_eq!(events, [binary(&payload)]);
}

#[test]
fn the_buffer_takes_no_byte_of_the_next_frame() {
    let mut connection = unlimited();
    feed(&mut connection, &masked_header(0x82, 20_000), &mut Vec::new()).unwrap();
    let mut buffer = connection.payload_buffer().unwrap();
    assert_eq!(buffer.remaining_mut(), 20_000);
    buffer.put_slice(&[0; 15_000]);
    drop(buffer);
    assert_eq!(connection.payload_received(15_000).unwrap(), None);
    assert!(connection.payload_buffer().is_none());
    let mut rest = vec![0; 5_003];
    let received = connection.receive(&mut rest).unwrap();
    assert_eq!(received.consumed, 5_000);
    assert!(received.event.is_some());
}

#[test]
fn the_buffer_grows_by_what_has_arrived_and_not_by_what_was_announced() {
    let mut connection = unlimited();
    feed(&mut connection, &masked_header(0x82, 1 << 40), &mut Vec::new()).unwrap();
    let mut arrived = 0;
    for _ in 0..64 {
        let mut buffer = connection.payload_buffer().unwrap();
        let room = buffer.chunk_mut().len();
        assert!(room >= DIRECT_READ_MIN, "a read is worth its system call");
        assert!(room <= 2 * arrived.max(64 * 1024), "{room} bytes of room after {arrived}");
        buffer.put_bytes(0, room.min(50_000));
        drop(buffer);
        assert_eq!(connection.payload_received(room.min(50_000)).unwrap(), None);
        arrived += room.min(50_000);
        assert_eq!(connection.unfinished_bytes(), arrived);
    }
}

#[test]
fn bad_text_fails_with_the_read_that_brings_it() {
    let mut payload = "é".repeat(50_000).into_bytes();
    payload[40_001] = b'x';
    let frame = masked(0x81, &payload);
    let mut connection = unlimited();
    let mut events = Vec::new();
    feed(&mut connection, &frame[..14 + 20_001], &mut events).unwrap();
    feed_directly(&mut connection, &frame[14 + 20_001..14 + 40_000], &mut events).unwrap();
    let result = feed_directly(&mut connection, &frame[14 + 40_000..14 + 40_002], &mut events);
    assert_eq!(result, Err(ProtocolError::InvalidUtf8));
    assert!(connection.payload_buffer().is_none());
}

#[test]
fn a_finished_message_leaves_no_buffer_behind() {
    let mut connection = unlimited();
    let mut events = Vec::new();
    feed(&mut connection, &masked_header(0x82, 100_000), &mut events).unwrap();
    feed_directly(&mut connection, &vec![0; 100_000], &mut events).unwrap();
    assert!(matches!(&events[..], [nexios_proto::Event::Message(Message::Binary(bytes))] if bytes.len() == 100_000));
    assert_eq!(connection.unfinished_bytes(), 0);
    assert!(!connection.is_mid_message());
}
