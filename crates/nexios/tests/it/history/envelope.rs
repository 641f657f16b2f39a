//! Messages that tell their positions.

use nexios::GroupError;
use nexios::prelude::*;

use super::room::{Rooms, Visitor, offsets};
use crate::serving::within;

#[derive(Debug, serde::Deserialize)]
struct Envelope {
    group: String,
    position: Position,
    data: serde_json::Value,
}

fn rooms() -> Rooms {
    let with = GroupConfig::new().history(History::new().with_positions());
    let without = GroupConfig::new().history(History::new());
    let config = GroupsConfig::new().each(with).by_name(move |name| match name {
        "plain" => Some(without.clone()),
        "forgetful" => Some(GroupConfig::new()),
        _ => None,
    });
    Rooms::new(config)
}

async fn hear(visitor: &mut Visitor) -> String {
    within(visitor.websocket.receive_text()).await.unwrap().to_string()
}

#[tokio::test]
async fn a_text_is_a_json_string_in_its_envelope() {
    let rooms = rooms();
    let mut visitor = rooms.visit("/a").await;
    let epoch = rooms.position("a").await.epoch();
    for (offset, (text, json)) in (1..).zip([
        ("hello", r#""hello""#),
        ("", r#""""#),
        ("a \"quote\" and a \\", r#""a \"quote\" and a \\""#),
        ("two\nlines\r\n\t\0", r#""two\nlines\r\n\t\u0000""#),
        ("ü € \u{1F600} \u{2028}", "\"ü € \u{1F600} \u{2028}\""),
        (r#"{"looks":"like JSON"}"#, r#""{\"looks\":\"like JSON\"}""#),
    ]) {
        rooms.groups.group("a").send_text(text).await.unwrap();
        let expected = format!(r#"{{"group":"a","position":"{epoch:016x}-{offset}","data":{json}}}"#);
        assert_eq!(hear(&mut visitor).await, expected);
        let envelope: Envelope = serde_json::from_str(&expected).unwrap();
        assert_eq!((envelope.data.as_str().unwrap(), envelope.position), (text, rooms.position("a").await));
    }
}

#[tokio::test]
async fn json_stands_in_its_envelope_as_it_is() {
    let rooms = rooms();
    let mut visitor = rooms.visit("/a").await;
    let epoch = rooms.position("a").await.epoch();
    let group = rooms.groups.group("a");
    group.send_json(&serde_json::json!({"a": [1, null, "ü\n\""]})).await.unwrap();
    group.send_json("text").await.unwrap();
    group.send_json_keyed("key", &1.5).await.unwrap();
    group.send_keyed("key", "1.5").await.unwrap();
    group.send_uncompressed("secret").await.unwrap();
    for (offset, json) in (1..).zip([r#"{"a":[1,null,"ü\n\""]}"#, r#""text""#, "1.5", r#""1.5""#, r#""secret""#]) {
        let expected = format!(r#"{{"group":"a","position":"{epoch:016x}-{offset}","data":{json}}}"#);
        assert_eq!(hear(&mut visitor).await, expected);
    }
}

#[tokio::test]
async fn any_name_of_a_group_stands_in_the_envelope() {
    for name in ["\"", "a\\b", "a b", "\n\u{1}", "ü€\u{1F600}", "}", "user/7"] {
        let rooms = rooms();
        let mut visitor = rooms.visit(&format!("/x?and={}", percent_encoded(name))).await;
        rooms.groups.group(name).send_text("hello").await.unwrap();
        let text = hear(&mut visitor).await;
        let envelope: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!((envelope.group.as_str(), envelope.data.as_str()), (name, Some("hello")), "{text}");
        assert_eq!(envelope.position, rooms.position(name).await);
        assert_eq!(rooms.kept(name).await, ["hello"]);
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
}

#[tokio::test]
async fn the_history_holds_what_was_sent_and_a_replay_the_envelopes() {
    let rooms = rooms();
    let group = rooms.groups.group("a");
    let texts = ["hello", "", "\"quoted\"\n", "ü€\u{1F600}", "}", "{\"a\":1}"];
    for text in texts {
        group.send_text(text).await.unwrap();
    }
    group.send_json(&serde_json::json!({"a": "}\""})).await.unwrap();
    let page = rooms.page("a", None, 100).await;
    let kept: Vec<_> = page.publications.iter().map(|one| one.message.as_text().unwrap()).collect();
    assert_eq!(kept[..6], texts);
    assert_eq!(kept[6], r#"{"a":"}\""}"#);
    assert_eq!(page.publications[6].json::<serde_json::Value>().unwrap()["a"], "}\"");
    let visitor = rooms.visit("/a?newest=100").await;
    let envelopes: Vec<Envelope> =
        visitor.missed.iter().map(|message| serde_json::from_slice(message.as_bytes()).unwrap()).collect();
    assert_eq!(envelopes.iter().map(|envelope| envelope.position.offset()).collect::<Vec<_>>(), offsets(&page));
    assert!(envelopes[..6].iter().zip(texts).all(|(envelope, text)| envelope.data == text));
    assert_eq!(envelopes[6].data, serde_json::json!({"a": "}\""}));
}

#[tokio::test]
async fn a_binary_message_is_refused_and_takes_no_position() {
    let rooms = rooms();
    let mut visitor = rooms.visit("/a?and=plain").await;
    rooms.say("a", 0..1).await;
    let group = rooms.groups.group("a");
    for _ in 0..3 {
        let error = group.send_bytes(vec![1]).await.unwrap_err();
        assert!(matches!(error, Error::Group(GroupError::NoPlaceForPosition)), "{error}");
        // Of several groups, none takes it.
        let error = rooms.groups.send_to(["plain", "a"], vec![1]).await.unwrap_err();
        assert!(matches!(error, Error::Group(GroupError::NoPlaceForPosition)), "{error}");
    }
    rooms.say("a", 1..2).await;
    rooms.say("plain", 7..8).await;
    for (offset, number) in [(1, "0"), (2, "1")] {
        let envelope: Envelope = serde_json::from_str(&hear(&mut visitor).await).unwrap();
        assert_eq!((envelope.position.offset(), envelope.data.as_str()), (offset, Some(number)));
    }
    assert_eq!(hear(&mut visitor).await, "7");
    assert_eq!(rooms.kept("a").await, ["0", "1"]);
    assert_eq!(rooms.kept("plain").await, ["7"]);
    assert_eq!(rooms.groups.stats().publications, 3);
}

#[tokio::test]
async fn one_to_several_groups_has_a_position_in_each() {
    let rooms = rooms();
    rooms.say("a", 0..3).await;
    rooms.say("plain", 0..5).await;
    let mut of_a = rooms.visit("/a").await;
    let mut of_b = rooms.visit("/b").await;
    let mut of_both = rooms.visit("/a?and=b").await;
    let mut of_plain = rooms.visit("/plain?and=forgetful").await;
    rooms.groups.send_to(["a", "b", "plain", "forgetful", "empty"], "ü\n").await.unwrap();
    for (visitor, groups) in [(&mut of_a, &["a"][..]), (&mut of_b, &["b"]), (&mut of_both, &["a", "b"])] {
        let envelope: Envelope = serde_json::from_str(&hear(visitor).await).unwrap();
        assert!(groups.contains(&&*envelope.group), "{envelope:?}");
        assert_eq!((envelope.position, envelope.data.as_str()), (rooms.position(&envelope.group).await, Some("ü\n")));
    }
    assert_eq!(hear(&mut of_plain).await, "ü\n");
    for (room, offset) in [("a", 4), ("b", 1), ("plain", 6), ("empty", 1)] {
        let page = rooms.page(room, None, 1).await;
        assert_eq!((offsets(&page), page.publications[0].message.as_text()), (vec![offset], Some("ü\n")), "{room}");
    }
    // Once: what comes next is the end.
    rooms.groups.broadcast("end").await.unwrap();
    for visitor in [&mut of_a, &mut of_b, &mut of_both, &mut of_plain] {
        assert_eq!(hear(visitor).await, "end");
    }
}
