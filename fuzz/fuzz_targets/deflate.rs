//! Compressed messages: arbitrary bytes in the place of DEFLATE's, and whatever a compressor makes of arbitrary
//! messages.
//!
//! The first byte of an input chooses which, the second one settings and limits, the third the fragments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexios_fuzz::{
    InflateTwin,
    listener::{Heard, Listener},
    memory, pieces,
};
use nexios_proto::{
    Compressor, Connection, Event, Limit, Limits, Message, ProtocolError, Role, handshake::deflate::DeflateParams,
};

/// The tail that a sender removes from each message (RFC 7692 §7.2.1).
const TAIL: &[u8] = b"\x00\x00\xff\xff";

fuzz_target!(|data: &[u8]| {
    let &[kind, choice, seed, ref bytes @ ..] = data else { return };
    if kind & 1 == 0 {
        Inflated::new(choice, seed).check(bytes);
    } else {
        Compressed::new(kind, choice, seed).check(bytes);
    }
});

/// Arbitrary bytes, where compressed ones should be.
struct Inflated {
    keeps_context: bool,
    first: u8,
    limit: usize,
    is_divided: bool,
    seed: u8,
}

impl Inflated {
    fn new(choice: u8, seed: u8) -> Self {
        Self {
            keeps_context: choice & 1 != 0,
            first: if choice & 2 == 0 { 0x42 } else { 0x41 },
            limit: [0, 1000, 70_000, 300_000][usize::from(choice >> 2 & 3)],
            is_divided: choice & 16 != 0,
            seed,
        }
    }

    fn check(&self, bytes: &[u8]) {
        let payloads: Vec<&[u8]> = if self.is_divided { divided(bytes) } else { vec![bytes] };
        let whole: Vec<u8> = payloads.iter().flat_map(|payload| frame(self.first | 0x80, payload)).collect();
        let parts: Vec<u8> = payloads.iter().flat_map(|payload| fragments(self.first, payload, self.seed)).collect();
        // What a thread keeps for its connections is in it, and the second copy of a message while its memory grows.
        let budget = (payloads.len() + 1) * self.limit + 1024 * 1024 + 4 * whole.len();
        let heard = memory::within(budget, || self.hear(&whole, [usize::MAX]));
        let again = self.hear(&parts, pieces::sizes(self.seed));
        assert_eq!(again.events, heard.events, "in fragments");
        assert_eq!(again.error.is_some(), heard.error.is_some(), "{:?} in fragments, {:?}", again.error, heard.error);
        self.compare(&payloads, &heard);
    }

    fn hear(&self, wire: &[u8], sizes: impl IntoIterator<Item = usize>) -> Heard {
        let limits = Limits::new().message_size(self.limit).fragments(Limit::Unlimited);
        let params = params(!self.keeps_context, 15);
        let mut listener = Listener::new(Connection::with_deflate(Role::Client, limits, params), limits, true);
        for piece in pieces::cut(wire, sizes) {
            listener.hear(piece);
        }
        listener.into_heard()
    }

    /// Checks that the output is that of a plain inflater.
    fn compare(&self, payloads: &[&[u8]], heard: &Heard) {
        let mut twin = InflateTwin::default();
        let mut events = heard.events.iter();
        for payload in payloads {
            let expected = twin.inflate(payload, self.keeps_context);
            let Some(event) = events.next() else { return self.check_error(payload, expected, heard.error) };
            let expected = expected.map(|message| self.message(message).expect("it is UTF-8"));
            assert_eq!(Some(event), expected.map(Event::Message).as_ref());
        }
        assert_eq!(heard.error, None);
    }

    fn check_error(&self, payload: &[u8], expected: Option<Vec<u8>>, error: Option<ProtocolError>) {
        match (error, expected) {
            (None, _) => panic!("a message is missing"),
            (Some(ProtocolError::InvalidDeflate), Some(_)) => {
                assert!(payload.len() > 100, "a flood of streams is long");
            }
            (Some(ProtocolError::MessageTooBig { .. }), Some(message)) => {
                let most_on_the_wire = self.limit + self.limit / 1024 + 64;
                assert!(message.len() > self.limit || payload.len() > most_on_the_wire);
            }
            (Some(ProtocolError::InvalidUtf8), Some(message)) => assert!(self.message(message).is_none()),
            (Some(_), None) => {}
            (Some(error), Some(_)) => panic!("{error}"),
        }
    }

    fn message(&self, message: Vec<u8>) -> Option<Message> {
        if self.first & 0x0f == 1 { String::from_utf8(message).ok().map(Message::from) } else { Some(message.into()) }
    }
}

/// Messages that are compressed and inflated.
struct Compressed {
    level: u8,
    bits: u8,
    alone: bool,
    seed: u8,
}

impl Compressed {
    fn new(kind: u8, choice: u8, seed: u8) -> Self {
        Self { level: 1 + (kind >> 1) % 9, bits: 9 + choice % 7, alone: choice & 0x80 != 0, seed }
    }

    fn check(&self, bytes: &[u8]) {
        let mut compressor = Compressor::new(self.level, self.bits);
        let params = params(self.alone, self.bits);
        let limits = Limits::new().message_size(Limit::Unlimited).fragments(Limit::Unlimited);
        let mut listener = Listener::new(Connection::with_deflate(Role::Client, limits, params), limits, true);
        let mut twin = InflateTwin::default();
        for message in bytes.split(|&byte| byte == 0xff).map(|bytes| repeated(bytes, self.bits)) {
            let mut payload = Vec::new();
            compressor.compress(message.as_bytes(), &mut payload);
            if self.alone {
                compressor.reset();
            }
            assert_eq!(twin.inflate(&payload, !self.alone).as_deref(), Some(message.as_bytes()), "by the letter");
            assert!(twin.farthest() <= 1 << self.bits, "{} bytes back, of {} bits", twin.farthest(), self.bits);
            let first = if message.is_text() { 0x41 } else { 0x42 };
            for piece in pieces::cut(&fragments(first, &payload, self.seed), pieces::sizes(self.seed)) {
                listener.hear(piece);
            }
            assert_eq!(listener.heard.error, None);
            assert_eq!(listener.heard.events, [Event::Message(message)]);
            listener.heard.events.clear();
        }
    }
}

/// Text where it is. The first byte says how often it is repeated: mostly a few times, sometimes until it fills the
/// window.
fn repeated(bytes: &[u8], bits: u8) -> Message {
    let &[times, ref bytes @ ..] = bytes else { return Message::from("") };
    let times = if times >= 0xe0 { 8 * usize::from(times - 0xdf) } else { usize::from(times % 4) };
    let most = (4 << bits).min(40_000);
    let bytes = bytes.repeat(times.min(most / bytes.len().max(1)));
    String::from_utf8(bytes).map_or_else(|error| Message::from(error.into_bytes()), Message::from)
}

fn params(alone: bool, bits: u8) -> DeflateParams {
    DeflateParams {
        server_no_context_takeover: alone,
        client_no_context_takeover: alone,
        server_max_window_bits: bits,
        client_max_window_bits: bits,
    }
}

/// Messages end where a sender takes its tail off.
fn divided(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut payloads, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(TAIL.len()).position(|window| window == TAIL) {
        payloads.push(&rest[..at]);
        rest = &rest[at + TAIL.len()..];
    }
    payloads.push(rest);
    payloads
}

/// A message of a server, in frames whose sizes the seed chooses.
fn fragments(first: u8, payload: &[u8], seed: u8) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = pieces::cut(payload, pieces::sizes(!seed)).collect();
    // An empty frame at the end changes nothing.
    if parts.is_empty() || seed & 1 == 1 {
        parts.push(&[]);
    }
    let last = parts.len() - 1;
    let fragment = |(index, part): (usize, &&[u8])| {
        frame(if index == 0 { first } else { 0 } | if index == last { 0x80 } else { 0 }, part)
    };
    parts.iter().enumerate().flat_map(fragment).collect()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.extend(u8::try_from(short)),
        long => match u16::try_from(long) {
            Ok(long) => frame.extend([&[126][..], &long.to_be_bytes()].concat()),
            Err(_) => frame.extend([&[127][..], &(long as u64).to_be_bytes()].concat()),
        },
    }
    frame.extend(payload);
    frame
}
