//! Giving the same bytes to a connection in several ways: what comes out must not depend on how they arrived.

use bytes::{BufMut, Bytes};
use nexios_proto::{Connection, Event, Limits, Message, ProtocolError, Role};

/// The key of all frames of a client here.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Events, and the error that ended the connection.
pub(crate) type Outcome = (Vec<Event>, Option<ProtocolError>);

/// A frame of a client, built byte by byte and without the crate's own encoder.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = announced(first, 0x80, payload.len() as u64);
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame of a server.
pub(crate) fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = announced(first, 0, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// The header of a client's frame that announces `length` bytes.
pub(crate) fn masked_header(first: u8, length: u64) -> Vec<u8> {
    let mut header = announced(first, 0x80, length);
    header.extend(KEY);
    header
}

fn announced(first: u8, mask_bit: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    if let Ok(length @ 0..126) = u8::try_from(length) {
        header.push(mask_bit + length);
    } else if let Ok(length) = u16::try_from(length) {
        header.push(mask_bit + 126);
        header.extend(length.to_be_bytes());
    } else {
        header.push(mask_bit + 127);
        header.extend(length.to_be_bytes());
    }
    header
}

/// Bytes of which no two neighbours are the same.
pub(crate) fn sample(size: usize) -> Vec<u8> {
    (0..251).cycle().take(size).collect()
}

/// Gives `bytes` to a connection in pieces of these sizes, and the rest at once.
pub(crate) fn replay(role: Role, limits: Limits, bytes: &[u8], pieces: impl IntoIterator<Item = usize>) -> Outcome {
    replay_to(Connection::new(role, limits), bytes, pieces)
}

/// As [`replay`], to this connection.
pub(crate) fn replay_to(mut connection: Connection, bytes: &[u8], pieces: impl IntoIterator<Item = usize>) -> Outcome {
    let mut events = Vec::new();
    let mut rest = bytes;
    for size in pieces.into_iter().chain([usize::MAX]) {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        if let Err(error) = feed(&mut connection, piece, &mut events) {
            return (events, Some(error));
        }
    }
    (events, None)
}

/// Gives one piece to a connection, until all of it is consumed.
pub(crate) fn feed(connection: &mut Connection, piece: &[u8], events: &mut Vec<Event>) -> Result<(), ProtocolError> {
    let mut piece = piece.to_vec();
    let mut input = &mut piece[..];
    while !input.is_empty() {
        let received = connection.receive(input)?;
        // Of a flood of fragments a call takes 64 headers and pieces.
        let is_flood = received.consumed >= 64;
        assert!(received.event.is_some() || received.consumed == input.len() || is_flood);
        events.extend(received.event);
        input = &mut input[received.consumed..];
    }
    Ok(())
}

/// As [`feed`], but reads into the connection's own buffer where it is lent.
pub(crate) fn feed_directly(
    connection: &mut Connection,
    mut piece: &[u8],
    events: &mut Vec<Event>,
) -> Result<(), ProtocolError> {
    while !piece.is_empty() {
        let Some(mut buffer) = connection.payload_buffer() else {
            let mut input = piece.to_vec();
            let received = connection.receive(&mut input)?;
            events.extend(received.event);
            piece = &piece[received.consumed..];
            continue;
        };
        let n = buffer.chunk_mut().len().min(piece.len());
        buffer.put_slice(&piece[..n]);
        drop(buffer);
        events.extend(connection.payload_received(n)?);
        piece = &piece[n..];
    }
    Ok(())
}

/// Checks what comes of `bytes`: at once, byte by byte, and cut in two at every place.
pub(crate) fn check_as(role: Role, limits: Limits, bytes: &[u8], outcome: &Outcome) {
    assert_eq!(&replay(role, limits, bytes, []), outcome, "at once");
    assert_eq!(&replay(role, limits, bytes, std::iter::repeat_n(1, bytes.len())), outcome, "byte by byte");
    for cut in 1..bytes.len() {
        assert_eq!(&replay(role, limits, bytes, [cut]), outcome, "cut at byte {cut}");
    }
}

/// Checks the events that a server sees.
#[track_caller]
pub(crate) fn check(bytes: &[u8], events: &[Event]) {
    check_as(Role::Server, Limits::new(), bytes, &(events.to_vec(), None));
}

/// Checks that a server fails, after these events, with this error.
#[track_caller]
pub(crate) fn check_error(bytes: &[u8], events: &[Event], error: ProtocolError) {
    check_as(Role::Server, Limits::new(), bytes, &(events.to_vec(), Some(error)));
}

/// The number of bytes after which a server fails, when they come one at a time.
pub(crate) fn fails_after(bytes: &[u8]) -> Option<usize> {
    let mut connection = Connection::new(Role::Server, Limits::new());
    bytes.iter().position(|&byte| connection.receive(&mut [byte]).is_err()).map(|index| index + 1)
}

pub(crate) fn text(text: &str) -> Event {
    Event::Message(Message::from(text))
}

pub(crate) fn binary(bytes: &[u8]) -> Event {
    Event::Message(Message::from(bytes))
}

pub(crate) fn ping(payload: &[u8]) -> Event {
    Event::Ping(Bytes::copy_from_slice(payload))
}

pub(crate) fn pong(payload: &[u8]) -> Event {
    Event::Pong(Bytes::copy_from_slice(payload))
}
