//! What holds for all inputs, against naive twins.

use nexios_proto::{Connection, Event, Limits, MaskKey, Message, ProtocolError, Role, encode};
use proptest::{collection::vec, prelude::*};

use crate::replay::{fails_after, feed_directly, masked, masked_header, replay};

fn config() -> ProptestConfig {
    // No file of past failures: what was found becomes a test of its own.
    ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes that are often, but not always, UTF-8.
fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
    let character = prop_oneof![
        8 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
        8 => "[a-z]{1,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..3),
    ];
    vec(character, 0..12).prop_map(|parts| parts.concat())
}

/// Frames as a peer may send them, good and bad.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88]),
        1 => any::<u8>(),
    ];
    prop_oneof![
        8 => (first.clone(), nearly_text()).prop_map(|(first, payload)| masked(first, &payload)),
        2 => (first, vec(any::<u8>(), 0..300)).prop_map(|(first, payload)| masked(first, &payload)),
        1 => vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn masking_equals_its_definition(key: [u8; 4], bytes in vec(any::<u8>(), 0..200), offset in 0usize..1000) {
        let naive: Vec<u8> = bytes.iter().enumerate().map(|(i, byte)| byte ^ key[(i + offset) % 4]).collect();
        let mut masked = bytes.clone();
        MaskKey::from(key).apply(&mut masked, offset);
        prop_assert_eq!(&masked, &naive);
        MaskKey::from(key).apply(&mut masked, offset);
        prop_assert_eq!(masked, bytes);
    }

    #[test]
    fn text_is_taken_exactly_when_it_is_utf8(payload in nearly_text()) {
        let (events, error) = replay(Role::Server, Limits::new(), &masked(0x81, &payload), []);
        let expected = match std::str::from_utf8(&payload) {
            Ok(text) => (vec![Event::Message(Message::from(text))], None),
            Err(_) => (vec![], Some(ProtocolError::InvalidUtf8)),
        };
        prop_assert_eq!((events, error), expected);
    }

    #[test]
    fn text_fails_at_the_earliest_byte(payload in nearly_text()) {
        // A prefix is hopeless when the standard library names an error that more input would not mend.
        let hopeless = (1..=payload.len()).find(|&end| {
            std::str::from_utf8(&payload[..end]).is_err_and(|error| error.error_len().is_some())
        });
        let unfinished = std::str::from_utf8(&payload).is_err().then_some(payload.len());
        let header = masked_header(0x81, payload.len() as u64).len();
        let expected = hopeless.or(unfinished).map(|end| header + end);
        prop_assert_eq!(fails_after(&masked(0x81, &payload)), expected);
    }

    #[test]
    fn events_do_not_depend_on_how_bytes_arrive(
        frames in vec(frame(), 0..8),
        pieces in vec(1usize..40, 0..60),
    ) {
        let bytes = frames.concat();
        let whole = replay(Role::Server, Limits::new(), &bytes, []);
        prop_assert_eq!(&replay(Role::Server, Limits::new(), &bytes, pieces), &whole);
        prop_assert_eq!(&replay(Role::Server, Limits::new(), &bytes, vec![1; bytes.len()]), &whole);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), server: bool) {
        let role = if server { Role::Server } else { Role::Client };
        let whole = replay(role, Limits::new(), &bytes, []);
        prop_assert_eq!(replay(role, Limits::new(), &bytes, vec![1; bytes.len()]), whole);
    }

    #[test]
    fn what_is_encoded_is_decoded(text: String, bytes in vec(any::<u8>(), 0..300), key: u32, pieces in vec(1usize..30, 0..30)) {
        let sent = [Message::from(text), Message::from(bytes)];
        for (role, key) in [(Role::Server, Some(MaskKey::from(key))), (Role::Client, None)] {
            let mut wire = Vec::new();
            for message in &sent {
                encode::message(message, key, &mut wire);
            }
            let (events, error) = replay(role, Limits::new(), &wire, pieces.clone());
            prop_assert_eq!(events, sent.clone().map(Event::Message));
            prop_assert_eq!(error, None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..config() })]

    #[test]
    fn direct_reads_change_nothing(
        fragments in vec(("[a-zé€😀]{1,8}", 1usize..12_000), 1..4),
        pieces in vec(1usize..60_000, 1..20),
    ) {
        let payload: Vec<String> = fragments.iter().map(|(word, times)| word.repeat(*times)).collect();
        let last = payload.len() - 1;
        let wire: Vec<u8> = payload.iter().enumerate().flat_map(|(i, payload)| {
            let first = u8::from(i == 0) | if i == last { 0x80 } else { 0 };
            masked(first, payload.as_bytes())
        }).collect();
        let mut connection = Connection::new(Role::Server, Limits::new());
        let mut events = Vec::new();
        let mut rest = &wire[..];
        for size in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            feed_directly(&mut connection, piece, &mut events).unwrap();
        }
        prop_assert_eq!(events, [Event::Message(Message::from(payload.concat()))]);
    }
}
