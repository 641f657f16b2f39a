//! Both ends of a connection, one against the other: what one says is what the other hears, in order, whatever the
//! network does to the bytes.
#![no_main]

use std::{collections::VecDeque, mem};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nexios_fuzz::listener::Listener;
use nexios_proto::{
    CloseFrame, CloseState, Compressor, Connection, Event, Limit, Limits, MaskKey, Message, ProtocolError, Role,
    encode,
    handshake::deflate::{DeflateOptions, DeflateParams},
};

fuzz_target!(|session: Session| session.run());

#[derive(Debug, Arbitrary)]
struct Session {
    /// The compression options of the client and the server.
    compression: Option<(Wish, Wish)>,
    /// Bytes that a message may have, if there is a limit.
    limit: Option<u16>,
    key: u32,
    turns: Vec<Turn>,
}

#[derive(Debug, Arbitrary)]
struct Wish {
    server_alone: bool,
    client_alone: bool,
    server_bits: u8,
    client_bits: u8,
    level: u8,
}

#[derive(Debug, Arbitrary)]
enum Turn {
    /// One end says something.
    Say { by_client: bool, what: What },
    /// Delivers bytes to an end, through `receive` or into the payload buffer.
    Carry { to_client: bool, bytes: u16, directly: bool },
}

#[derive(Debug, Arbitrary)]
enum What {
    Text {
        text: String,
        times: u16,
        plain: bool,
    },
    Binary {
        bytes: Vec<u8>,
        times: u16,
        plain: bool,
    },
    /// A header, and the payload from where it is: as a server sends large messages.
    Apart {
        bytes: Vec<u8>,
        times: u16,
        plain: bool,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// The compressor begins anew, which the other end need not know.
    Forget,
}

/// The longest message: beyond what a length of 16 bits says, and what is read directly.
const LONGEST: usize = 70_000;

impl Session {
    fn run(self) {
        let agreed = self.compression.as_ref().map(|(client, server)| agree(client, server));
        let limits = Limits::new().message_size(self.limit.map_or(Limit::Unlimited, |limit| Limit::At(limit.into())));
        let level = |of: fn(&(Wish, Wish)) -> &Wish| self.compression.as_ref().map_or(1, |wishes| of(wishes).level);
        let mut client = End::new(Role::Client, limits, agreed, level(|wishes| &wishes.0), self.key);
        let mut server = End::new(Role::Server, limits, agreed, level(|wishes| &wishes.1), self.key);
        for turn in self.turns {
            match turn {
                Turn::Say { by_client: true, what } => client.say(what, &mut server),
                Turn::Say { by_client: false, what } => server.say(what, &mut client),
                Turn::Carry { to_client: true, bytes, directly } => client.hear(&mut server, bytes.into(), directly),
                Turn::Carry { to_client: false, bytes, directly } => server.hear(&mut client, bytes.into(), directly),
            }
        }
        while !client.out.is_empty() || !server.out.is_empty() {
            client.hear(&mut server, usize::MAX, false);
            server.hear(&mut client, usize::MAX, false);
        }
        client.check_end(&server);
        server.check_end(&client);
    }
}

/// The parameters that both ends must negotiate.
fn agree(client: &Wish, server: &Wish) -> DeflateParams {
    let options = |wish: &Wish| {
        DeflateOptions::new()
            .server_no_context_takeover(wish.server_alone)
            .client_no_context_takeover(wish.client_alone)
            .server_max_window_bits(9 + wish.server_bits % 7)
            .client_max_window_bits(9 + wish.client_bits % 7)
    };
    let offer = options(client).offer();
    let answer = options(server).answer([("sec-websocket-extensions", offer.as_bytes())].into_iter());
    answer.expect("two ends of this crate always agree").params
}

struct End {
    role: Role,
    listener: Listener,
    limits: Limits,
    compressor: Option<Compressor>,
    /// Each message is compressed by itself.
    alone: bool,
    key: u32,
    /// On its way to the other end.
    out: Vec<u8>,
    /// The events that this end must receive.
    expected: VecDeque<Event>,
    /// And what makes it fail after that.
    failure: Option<ProtocolError>,
}

impl End {
    fn new(role: Role, limits: Limits, agreed: Option<DeflateParams>, level: u8, key: u32) -> Self {
        let connection = match agreed {
            Some(params) => Connection::with_deflate(role, limits, params),
            None => Connection::new(role, limits),
        };
        let (bits, alone) = match (role, agreed) {
            (_, None) => (0, false),
            (Role::Client, Some(params)) => (params.client_max_window_bits, params.client_no_context_takeover),
            (Role::Server, Some(params)) => (params.server_max_window_bits, params.server_no_context_takeover),
        };
        Self {
            role,
            listener: Listener::new(connection, limits, agreed.is_some()),
            limits,
            compressor: (bits >= 9).then(|| Compressor::new(1 + level % 9, bits)),
            alone,
            key,
            out: Vec::new(),
            expected: VecDeque::new(),
            failure: None,
        }
    }

    fn key(&mut self) -> Option<MaskKey> {
        self.key = self.key.rotate_left(5).wrapping_add(0x9e37_79b9);
        (self.role == Role::Client).then(|| MaskKey::from(self.key))
    }

    /// Nothing follows a Close frame (RFC 6455 §5.5.1).
    fn may_speak(&self) -> bool {
        matches!(self.listener.connection.close_state(), CloseState::Open | CloseState::CloseReceived)
    }

    fn say(&mut self, what: What, other: &mut Self) {
        if !self.may_speak() {
            return;
        }
        match what {
            What::Text { text, times, plain } => {
                self.send(&Message::from(text.repeat(repetitions(text.len(), times))), plain, false, other);
            }
            What::Binary { bytes, times, plain } => {
                self.send(&Message::from(bytes.repeat(repetitions(bytes.len(), times))), plain, false, other);
            }
            What::Apart { bytes, times, plain } => {
                let message = Message::from(bytes.repeat(repetitions(bytes.len(), times)));
                self.send(&message, plain, self.role == Role::Server, other);
            }
            What::Ping(payload) => {
                let key = self.key();
                encode::ping(&payload, key, &mut self.out);
                other.expect(Event::Ping(cut(&payload)));
            }
            What::Pong(payload) => self.pong(&payload, other),
            What::Close(frame) => self.close(frame.map(|(code, reason)| CloseFrame::new(code, reason)), other),
            What::Forget => self.compressor.iter_mut().for_each(Compressor::reset),
        }
    }

    fn send(&mut self, message: &Message, plain: bool, apart: bool, other: &mut Self) {
        let key = self.key();
        match &mut self.compressor {
            Some(compressor) if !plain => {
                let mut payload = Vec::new();
                compressor.compress(message.as_bytes(), &mut payload);
                if self.alone {
                    compressor.reset();
                }
                if apart {
                    encode::compressed_header(message.is_text(), payload.len(), &mut self.out);
                    self.out.extend(payload);
                } else {
                    encode::compressed(message.is_text(), &payload, key, &mut self.out);
                }
            }
            _ if apart => {
                encode::message_header(message, &mut self.out);
                self.out.extend(message.as_bytes());
            }
            _ => encode::message(message, key, &mut self.out),
        }
        other.expect(Event::Message(message.clone()));
    }

    fn pong(&mut self, payload: &[u8], other: &mut Self) {
        let key = self.key();
        encode::pong(payload, key, &mut self.out);
        other.expect(Event::Pong(cut(payload)));
    }

    fn close(&mut self, frame: Option<CloseFrame>, other: &mut Self) {
        let key = self.key();
        let may_speak = self.may_speak();
        let before = self.out.len();
        assert_eq!(self.listener.connection.send_close(frame.as_ref(), key, &mut self.out), may_speak);
        assert!(may_speak || self.out.len() == before, "a second Close frame");
        if may_speak {
            other.expect(Event::Close(frame.filter(|frame| frame.code().is_sendable())));
        }
    }

    /// Notes what is on its way to this end, unless it fails before.
    fn expect(&mut self, event: Event) {
        if self.failure.is_some() {
            return;
        }
        match (&event, self.limits.message_size) {
            (Event::Message(message), Limit::At(limit)) if message.len() > limit => {
                self.failure = Some(ProtocolError::MessageTooBig { size: 0, limit });
            }
            _ => self.expected.push_back(event),
        }
    }

    /// Hears what the other end has sent, and answers as an endpoint must (RFC 6455 §5.5.1, §5.5.2).
    fn hear(&mut self, other: &mut Self, bytes: usize, directly: bool) {
        let n = other.out.len().min(bytes);
        let piece: Vec<u8> = other.out.drain(..n).collect();
        if directly {
            self.listener.hear_directly(&piece);
        } else {
            self.listener.hear(&piece);
        }
        for event in mem::take(&mut self.listener.heard.events) {
            assert_eq!(Some(&event), self.expected.pop_front().as_ref());
            match event {
                Event::Ping(payload) if self.may_speak() => self.pong(&payload, other),
                Event::Close(frame) => self.close(frame, other),
                _ => {}
            }
        }
        if let Some(error) = self.listener.heard.error {
            let Some(ProtocolError::MessageTooBig { limit, .. }) = self.failure else { panic!("{error}") };
            assert!(
                matches!(error, ProtocolError::MessageTooBig { size, limit: told } if size > limit as u64 && told == limit)
            );
        }
    }

    fn check_end(&self, other: &Self) {
        assert!(self.expected.is_empty(), "{:?} is missing", self.expected);
        assert_eq!(self.listener.heard.error.is_some(), self.failure.is_some());
        assert!(!self.listener.connection.is_mid_message());
        let state = self.listener.connection.close_state();
        if self.failure.is_none() && other.failure.is_none() {
            assert!(matches!(state, CloseState::Open | CloseState::Closed), "{state:?}");
            assert_eq!(state, other.listener.connection.close_state());
        }
    }
}

/// A control frame has at most 125 bytes.
fn cut(payload: &[u8]) -> bytes::Bytes {
    payload[..payload.len().min(125)].to_vec().into()
}

/// The number of repetitions of a payload: mostly a few, as large messages cost the time of many small ones.
fn repetitions(len: usize, times: u16) -> usize {
    let times = if times >= 0xf000 { times & 0xfff } else { times % 8 };
    usize::from(times).min(LONGEST / len.max(1))
}
