//! The plain values: texts, messages, close codes, sizes.

use std::{borrow::Cow, collections::HashMap, mem::size_of};

use bytes::Bytes;
use nexios_proto::{CloseCode, Connection, Event, Message, ProtocolError, Utf8Bytes};

#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 64, "{} bytes", size_of::<Connection>());
    assert!(size_of::<Event>() <= 48);
    assert!(size_of::<ProtocolError>() <= 24);
}

#[test]
fn connections_cross_threads() {
    fn crosses<T: Send + Sync + Unpin + 'static>() {}
    crosses::<Connection>();
    crosses::<Event>();
}

#[test]
fn debug_output_of_a_connection_has_no_payload() {
    let mut connection = Connection::new(nexios_proto::Role::Client, nexios_proto::Limits::new());
    crate::replay::feed(&mut connection, b"\x01\x06secret", &mut Vec::new()).unwrap();
    assert_eq!(format!("{connection:?}"), "Connection { close_state: Open, unfinished_bytes: 6, .. }");
}

#[test]
fn text_compares_with_every_string() {
    let text = Utf8Bytes::from("hello");
    assert_eq!(text, *"hello");
    assert_eq!(text, "hello");
    assert_eq!(text, String::from("hello"));
    assert_eq!("hello", text);
    assert_eq!(*"hello", text);
    assert_eq!(String::from("hello"), text);
    assert_ne!(text, "other");
    assert!(text < Utf8Bytes::from_static("help"));
    assert_eq!(format!("{text} {text:?}"), "hello \"hello\"");
}

#[test]
fn text_comes_from_every_string() {
    let sources = [
        Utf8Bytes::from("ü"),
        Utf8Bytes::from(String::from("ü")),
        Utf8Bytes::from(&String::from("ü")),
        Utf8Bytes::from(Cow::Borrowed("ü")),
        Utf8Bytes::from(Box::<str>::from("ü")),
        Utf8Bytes::from('ü'),
        Utf8Bytes::from_static("ü"),
        Utf8Bytes::try_from(Bytes::from("ü")).unwrap(),
        Utf8Bytes::try_from("ü".as_bytes().to_vec()).unwrap(),
    ];
    for text in sources {
        assert_eq!(text.as_str(), "ü");
        assert_eq!(String::from(text.clone()), "ü");
        assert_eq!(Bytes::from(text), "ü");
    }
    assert_eq!(Utf8Bytes::default(), "");
}

#[test]
fn bytes_that_are_not_utf8_make_no_text() {
    let error = Utf8Bytes::try_from(b"ab\xff".to_vec()).unwrap_err();
    assert_eq!(error.valid_up_to(), 2);
}

#[test]
fn text_is_found_in_maps_by_str() {
    let map = HashMap::from([(Utf8Bytes::from("key"), 1)]);
    assert_eq!(map.get("key"), Some(&1));
}

#[test]
fn a_string_is_taken_over_without_a_copy() {
    let string = "x".repeat(100);
    let address = string.as_ptr();
    let text = Utf8Bytes::from(string);
    assert_eq!(text.as_ptr(), address);
    let string = String::from(text);
    assert_eq!(string.as_ptr(), address);
}

#[test]
fn messages_tell_their_kind() {
    let text = Message::from("hi");
    assert!(text.is_text() && !text.is_binary() && !text.is_empty());
    assert_eq!((text.len(), text.as_text(), text.as_bytes()), (2, Some("hi"), &b"hi"[..]));
    let binary = Message::from(Bytes::from_static(b"\xff"));
    assert!(binary.is_binary() && !binary.is_text());
    assert_eq!(binary.as_text(), None);
    assert_eq!(binary.into_bytes(), b"\xff".as_slice());
    assert_eq!(Message::from(Utf8Bytes::from("hi")), Message::from(String::from("hi")));
    assert_ne!(Message::from("hi"), Message::from(b"hi".as_slice()));
}

#[test]
fn close_codes_display_their_meaning() {
    assert_eq!(CloseCode::from(1006).to_string(), "1006 abnormal closure");
    assert_eq!(format!("{:?}", CloseCode::from(3001)), "CloseCode(3001)");
    assert_eq!(u16::from(CloseCode::BAD_GATEWAY), 1014);
    assert!(CloseCode::NORMAL < CloseCode::GOING_AWAY);
}

#[test]
fn sendable_codes_are_those_of_the_registry() {
    let sendable = |code: &u16| CloseCode::from(*code).is_sendable();
    let codes: Vec<u16> = (0..3000).filter(sendable).collect();
    assert_eq!(codes, [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
    assert!((3000..5000).all(|code| sendable(&code)));
    assert!(!(5000..=u16::MAX).any(|code| sendable(&code)));
}

#[test]
fn an_integer_literal_is_a_close_code() {
    fn close(code: impl Into<CloseCode>) -> CloseCode {
        code.into()
    }
    assert_eq!(close(1008), CloseCode::POLICY_VIOLATION);
}
