//! A connection that is listened to, and what must hold whatever it hears.

use bytes::BufMut;
use nexios_proto::{CloseFrame, CloseState, Connection, Event, Limit, Limits, MaskKey, ProtocolError, Role};

/// The payload of a control frame at most (RFC 6455 §5.5).
const CONTROL_MAX: usize = 125;
/// Maximum memory of a connection with compression besides its message: an inflater, and the collected input.
const DEFLATE_SIZE: usize = 40 * 1024 + 32 * 1024;

/// The output of a connection: events, and the error that ended it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub events: Vec<Event>,
    pub error: Option<ProtocolError>,
}

pub struct Listener {
    pub connection: Connection,
    limits: Limits,
    /// Maximum memory besides a message.
    overhead: usize,
    arrived: usize,
    pub heard: Heard,
    has_ended: bool,
}

impl Listener {
    pub fn new(connection: Connection, limits: Limits, has_deflate: bool) -> Self {
        let overhead = CONTROL_MAX + if has_deflate { DEFLATE_SIZE } else { 0 };
        Self { connection, limits, overhead, arrived: 0, heard: Heard::default(), has_ended: false }
    }

    /// Takes a piece by `receive`, until all of it is consumed.
    pub fn hear(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while !input.is_empty() {
            let Some(consumed) = self.receive(input) else { return };
            input = &mut input[consumed..];
        }
    }

    /// As [`hear`](Self::hear), but into the connection's own buffer where it is lent.
    pub fn hear_directly(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let Some(mut buffer) = self.connection.payload_buffer() else {
                let Some(consumed) = self.receive(&mut piece.to_vec()) else { return };
                piece = &piece[consumed..];
                continue;
            };
            assert!(!self.has_ended, "a buffer is lent after the end");
            let n = buffer.chunk_mut().len().min(piece.len());
            assert!(n > 0, "a buffer without room");
            buffer.put_slice(&piece[..n]);
            drop(buffer);
            piece = &piece[n..];
            self.arrived += n;
            let result = self.connection.payload_received(n);
            self.note(result);
        }
    }

    /// Gives the peer up, as a caller may at any time.
    pub fn give_up(&mut self) {
        let state = self.connection.close_state();
        self.connection.fail();
        assert_eq!(self.connection.close_state(), state);
        self.has_ended = true;
        self.check_memory();
    }

    /// The output, without the connection.
    pub fn into_heard(self) -> Heard {
        self.heard
    }

    /// The bytes that were consumed; `None` after an error, which leaves the rest to nobody.
    fn receive(&mut self, input: &mut [u8]) -> Option<usize> {
        let received = self.connection.receive(input);
        let Ok(received) = received else {
            self.note(received.map(|_| None));
            return None;
        };
        assert!(received.consumed <= input.len(), "more is consumed than was given");
        assert!(received.consumed > 0, "nothing is consumed");
        // Of a flood of fragments a call takes 64 headers and pieces.
        let is_flood = received.consumed >= 64;
        assert!(received.event.is_some() || received.consumed == input.len() || is_flood, "a rest without an event");
        self.arrived += received.consumed;
        self.note(Ok(received.event));
        Some(received.consumed)
    }

    fn note(&mut self, result: Result<Option<Event>, ProtocolError>) {
        if self.has_ended {
            assert_eq!(result, Ok(None), "something is heard after the end");
        }
        match result {
            Ok(event) => {
                if let Some(event) = event {
                    self.check_event(&event);
                    self.heard.events.push(event);
                }
            }
            Err(error) => {
                self.has_ended = true;
                assert_ne!(self.connection.close_state(), CloseState::CloseReceived);
                self.heard.error = Some(error);
            }
        }
        self.check_memory();
    }

    fn check_event(&mut self, event: &Event) {
        match event {
            Event::Message(message) => {
                assert!(self.limits.message_size.allows(message.len()), "a message over the limit");
                if let Some(text) = message.as_text() {
                    assert!(std::str::from_utf8(text.as_bytes()).is_ok(), "text that is not UTF-8");
                }
            }
            Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= CONTROL_MAX),
            Event::Close(frame) => {
                if let Some(frame) = frame {
                    assert!(frame.code().is_sendable());
                    assert!(std::str::from_utf8(frame.reason().as_bytes()).is_ok(), "a reason that is not UTF-8");
                }
                assert!(matches!(self.connection.close_state(), CloseState::CloseReceived | CloseState::Closed));
                self.has_ended = true;
            }
        }
    }

    fn check_memory(&self) {
        let held = self.connection.unfinished_bytes();
        if self.has_ended {
            assert_eq!(held, 0, "something is held after the end");
            assert!(!self.connection.is_mid_message(), "a message goes on after the end");
            return;
        }
        if let Limit::At(limit) = self.limits.message_size {
            assert!(held <= limit + self.overhead, "{held} bytes are held");
        }
        if self.overhead == CONTROL_MAX {
            assert!(held <= self.arrived, "{held} bytes are held of {} that arrived", self.arrived);
        }
    }
}

/// Checks that the Close frame for an error is valid at the other end.
pub fn check_answer(connection: &mut Connection, role: Role, error: ProtocolError) {
    let frame = CloseFrame::new(error.close_code(), error.to_string());
    assert!(frame.code().is_sendable() && !frame.reason().is_empty());
    let (key, peer) = match role {
        Role::Server => (None, Role::Client),
        Role::Client => (Some(MaskKey::from([1, 2, 3, 4])), Role::Server),
    };
    let mut out = Vec::new();
    assert!(connection.send_close(Some(&frame), key, &mut out));
    assert!(!connection.send_close(Some(&frame), key, &mut out));
    let received = Connection::new(peer, Limits::new()).receive(&mut out).expect("an answer is a valid frame");
    assert_eq!(received.event, Some(Event::Close(Some(frame))));
}
