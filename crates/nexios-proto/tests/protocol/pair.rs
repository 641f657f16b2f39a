//! Both ends of a connection, with a vector for a network.

use nexios_proto::{
    CloseCode, CloseFrame, CloseState, Connection, Event, Limit, Limits, MaskKey, Message, Role, encode,
};

/// One end: what it has heard, and what it has yet to send.
struct End {
    connection: Connection,
    role: Role,
    heard: Vec<Event>,
    out: Vec<u8>,
    keys: u32,
}

impl End {
    fn new(role: Role) -> Self {
        let limits = Limits::new().message_size(Limit::Unlimited);
        Self { connection: Connection::new(role, limits), role, heard: Vec::new(), out: Vec::new(), keys: 1 }
    }

    /// A key that is never the same twice, on a client's end.
    fn key(&mut self) -> Option<MaskKey> {
        self.keys = self.keys.wrapping_mul(0x9e37_79b9).wrapping_add(1);
        (self.role == Role::Client).then(|| MaskKey::from(self.keys))
    }

    fn send(&mut self, message: &Message) {
        let key = self.key();
        encode::message(message, key, &mut self.out);
    }

    fn close(&mut self, frame: Option<&CloseFrame>) {
        let key = self.key();
        self.connection.send_close(frame, key, &mut self.out);
    }

    /// Hears what the other end has sent, and answers as an endpoint must (RFC 6455 §5.5.1, §5.5.2).
    fn hear(&mut self, mut bytes: Vec<u8>) {
        let mut input = &mut bytes[..];
        while !input.is_empty() {
            let received = self.connection.receive(input).expect("the other end obeys");
            input = &mut input[received.consumed..];
            match &received.event {
                Some(Event::Ping(payload)) => {
                    let key = self.key();
                    encode::pong(payload, key, &mut self.out);
                }
                Some(Event::Close(frame)) => {
                    let frame = frame.clone();
                    self.close(frame.as_ref());
                }
                _ => {}
            }
            self.heard.extend(received.event);
        }
    }
}

struct Pair {
    server: End,
    client: End,
}

impl Pair {
    fn new() -> Self {
        Self { server: End::new(Role::Server), client: End::new(Role::Client) }
    }

    /// Carries bytes both ways, `step` at a time, until there are none.
    fn run(&mut self, step: usize) {
        while !self.server.out.is_empty() || !self.client.out.is_empty() {
            carry(&mut self.server, &mut self.client, step);
            carry(&mut self.client, &mut self.server, step);
        }
    }
}

fn carry(from: &mut End, to: &mut End, step: usize) {
    let n = from.out.len().min(step);
    to.hear(from.out.drain(..n).collect());
}

fn messages(sizes: &[usize]) -> Vec<Message> {
    sizes.iter().flat_map(|&size| [Message::from("é".repeat(size / 2)), Message::from(vec![0xfe; size])]).collect()
}

#[test]
fn messages_of_all_sizes_cross_in_both_directions() {
    let sent = messages(&[0, 2, 64, 124, 126, 1000, 65_534, 65_536, 200_000]);
    for step in [1_000, 65_536, usize::MAX] {
        let mut pair = Pair::new();
        for message in &sent {
            pair.client.send(message);
            pair.server.send(message);
        }
        pair.run(step);
        let heard: Vec<Event> = sent.iter().cloned().map(Event::Message).collect();
        assert_eq!(pair.server.heard, heard);
        assert_eq!(pair.client.heard, heard);
    }
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut pair = Pair::new();
    let key = pair.client.key();
    encode::ping(b"are you there", key, &mut pair.client.out);
    pair.run(7);
    assert_eq!(pair.client.heard, [Event::Pong("are you there".into())]);
}

#[test]
fn a_close_frame_is_echoed_and_both_ends_are_closed() {
    for client_begins in [true, false] {
        let mut pair = Pair::new();
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "bye");
        let first = if client_begins { &mut pair.client } else { &mut pair.server };
        first.send(&Message::from("last words"));
        first.close(Some(&frame));
        pair.run(3);
        assert_eq!(pair.client.connection.close_state(), CloseState::Closed);
        assert_eq!(pair.server.connection.close_state(), CloseState::Closed);
        assert_eq!(pair.client.heard.last(), Some(&Event::Close(Some(frame.clone()))));
        assert_eq!(pair.server.heard.last(), Some(&Event::Close(Some(frame))));
    }
}

#[test]
fn close_frames_may_cross() {
    let mut pair = Pair::new();
    pair.client.close(Some(&CloseFrame::new(1000, "")));
    pair.server.close(Some(&CloseFrame::new(1001, "")));
    pair.run(usize::MAX);
    assert_eq!(pair.client.heard, [Event::Close(Some(CloseFrame::new(1001, "")))]);
    assert_eq!(pair.server.heard, [Event::Close(Some(CloseFrame::new(1000, "")))]);
    assert_eq!(pair.client.connection.close_state(), CloseState::Closed);
    assert_eq!(pair.server.connection.close_state(), CloseState::Closed);
}
