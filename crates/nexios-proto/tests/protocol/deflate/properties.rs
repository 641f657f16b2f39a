//! What holds for all inputs.

use nexios_proto::{
    Compressor, Connection, Event, Limits, MaskKey, Message, ProtocolError, Role, encode,
    handshake::deflate::DeflateParams,
};
use proptest::{collection::vec, prelude::*};

use super::{ALONE, TAKEOVER, twin::Twin};
use crate::replay::{masked, plain, replay_to};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes with and without repetitions.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => "[a-z]{1,20}".prop_map(String::into_bytes),
        3 => ("[ab]{1,6}", 1usize..200).prop_map(|(word, times)| word.repeat(times).into_bytes()),
        1 => vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 0usize..40_000).prop_map(|(byte, times)| vec![byte; times]),
    ];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// What one sender sends: compressed messages in fragments, with plain ones and pings in between.
#[derive(Clone, Debug)]
struct Sent {
    payload: Vec<u8>,
    is_plain: bool,
    fragment: usize,
    ping: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    (payload(), prop::bool::weighted(0.2), prop_oneof![Just(usize::MAX), 1usize..5000], any::<bool>())
        .prop_map(|(payload, is_plain, fragment, ping)| Sent { payload, is_plain, fragment, ping })
}

/// The bytes of a sender of this role, and what the other end shall see.
fn wire(sent: &[Sent], sender: Role, level: u8, params: DeflateParams) -> (Vec<u8>, Vec<Event>) {
    let (bits, forgets) = match sender {
        Role::Server => (params.server_max_window_bits, params.server_no_context_takeover),
        Role::Client => (params.client_max_window_bits, params.client_no_context_takeover),
    };
    let frame = |first, part: &[u8]| if sender == Role::Client { masked(first, part) } else { plain(first, part) };
    let mut compressor = Compressor::new(level, bits);
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for Sent { payload, is_plain, fragment, ping } in sent {
        let mut data = Vec::new();
        if *is_plain {
            data.clone_from(payload);
        } else {
            compressor.compress(payload, &mut data);
        }
        // One message in a thousand bytes at least, or the count of fragments is over its limit.
        let parts: Vec<&[u8]> = data.chunks((*fragment).max(data.len() / 1000 + 1)).collect();
        let parts = if parts.is_empty() { vec![&[][..]] } else { parts };
        for (index, part) in parts.iter().enumerate() {
            let first = if index == 0 { if *is_plain { 2 } else { 0x42 } } else { 0 };
            let fin = if index + 1 == parts.len() { 0x80 } else { 0 };
            bytes.extend(frame(first | fin, part));
            if *ping {
                bytes.extend(frame(0x89, b"p"));
            }
        }
        let pings = if *ping { parts.len() } else { 0 };
        let ping = || Event::Ping(bytes::Bytes::from_static(b"p"));
        events.extend((1..pings).map(|_| ping()));
        events.push(Event::Message(Message::from(payload.clone())));
        events.extend((pings > 0).then(ping));
        if forgets {
            compressor.reset();
        }
    }
    (bytes, events)
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn what_is_compressed_is_inflated(
        sent in vec(sent(), 1..6),
        to_server: bool,
        level in 1u8..=9,
        bits in 9u8..=15,
        takeover: bool,
        pieces in vec(1usize..20_000, 0..30),
    ) {
        let params = DeflateParams {
            server_no_context_takeover: !takeover,
            client_no_context_takeover: !takeover,
            server_max_window_bits: bits,
            client_max_window_bits: bits,
        };
        let (sender, role) = if to_server { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let (bytes, events) = wire(&sent, sender, level, params);
        let outcome = replay_to(Connection::with_deflate(role, Limits::new(), params), &bytes, pieces);
        prop_assert_eq!(&outcome.1, &None);
        prop_assert!(outcome.0 == events);
    }

    #[test]
    fn a_compressor_looks_back_no_farther_than_its_window(
        word in vec(any::<u8>(), 20..100),
        between in vec(any::<u8>(), 300..3000),
        level in 1u8..=9,
        bits in 9u8..=15,
    ) {
        let mut compressor = Compressor::new(level, bits);
        let mut twin = Twin::default();
        for message in [&word, &between, &word, &between] {
            let mut payload = Vec::new();
            compressor.compress(message, &mut payload);
            let inflated = twin.inflate(&payload, true);
            prop_assert_eq!(inflated.as_ref(), Some(message));
        }
        prop_assert!(twin.farthest <= 1 << bits, "{} bytes", twin.farthest);
    }

    #[test]
    fn encoded_frames_are_decoded(payload in payload(), is_text: bool, key: u32) {
        let text = String::from_utf8_lossy(&payload).into_owned();
        let message = if is_text { Message::from(text) } else { Message::from(payload) };
        let mut data = Vec::new();
        Compressor::new(3, 12).compress(message.as_bytes(), &mut data);
        for (role, key) in [(Role::Server, Some(MaskKey::from(key))), (Role::Client, None)] {
            let mut wire = Vec::new();
            encode::compressed(is_text, &data, key, &mut wire);
            let outcome = replay_to(Connection::with_deflate(role, Limits::new(), ALONE), &wire, []);
            prop_assert!(outcome == (vec![Event::Message(message.clone())], None));
        }
    }
}

/// Payloads that are what a compressor makes, and those that are nearly so.
fn nearly_compressed() -> impl Strategy<Value = Vec<u8>> {
    let block = prop_oneof![
        4 => ("[a-e]{1,8}", 1usize..30, 1u8..=9).prop_map(|(word, times, level)| {
            let mut data = Vec::new();
            Compressor::new(level, 15).compress(word.repeat(times).as_bytes(), &mut data);
            data
        }),
        2 => (vec(any::<u8>(), 1..200), 1u8..=9).prop_map(|(payload, level)| {
            let mut data = Vec::new();
            Compressor::new(level, 15).compress(&payload, &mut data);
            data
        }),
        1 => Just(b"\x00\x00\xff\xff".to_vec()),
        1 => Just(b"\x03\x00".to_vec()),
        1 => Just(b"\x01\x00\x00\xff\xff".to_vec()),
        1 => Just(vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        1 => Just(vec![0xf2, 0x00, 0x11, 0x00, 0x00]),
        1 => vec(any::<u8>(), 0..6),
    ];
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..4);
    (vec(block, 1..5), vec(change, 0..3)).prop_map(|(blocks, changes)| {
        let mut data = blocks.concat();
        for (index, byte, kind) in changes {
            if data.is_empty() {
                break;
            }
            let index = index.index(data.len());
            match kind {
                0 => data[index] ^= 1 << (byte % 8),
                1 => data[index] = byte,
                2 => data.truncate(index),
                _ => {}
            }
        }
        data
    })
}

proptest! {
    #![proptest_config(config(4096))]

    #[test]
    fn inflating_equals_its_definition(messages in vec(nearly_compressed(), 1..4), takeover: bool, cut: prop::sample::Index) {
        let mut twin = Twin::default();
        let mut expected = (Vec::new(), None);
        for message in &messages {
            let Some(payload) = twin.inflate(message, takeover) else {
                expected.1 = Some(ProtocolError::InvalidDeflate);
                break;
            };
            expected.0.push(Event::Message(Message::from(payload)));
        }
        let bytes: Vec<u8> = messages.iter().flat_map(|message| masked(0xc2, message)).collect();
        let params = if takeover { TAKEOVER } else { ALONE };
        let server = || Connection::with_deflate(Role::Server, Limits::new(), params);
        prop_assert_eq!(&replay_to(server(), &bytes, []), &expected);
        prop_assert_eq!(&replay_to(server(), &bytes, [cut.index(bytes.len())]), &expected);
    }
}
