//! Reading the history.

use nexios::InvalidPosition;
use nexios::prelude::*;

use super::room::{Rooms, at, numbers, offsets, texts};

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let rooms = Rooms::keeping(History::new().messages(100));
    rooms.say("a", 0..95).await;
    let end = rooms.position("a").await;
    for limit in [1, 7, 10, 94, 95, 96, usize::MAX] {
        let (mut since, mut seen) = (at(end, 0), Vec::new());
        loop {
            let page = rooms.page("a", since, limit).await;
            assert!(page.recovered && page.publications.len() <= limit);
            assert_eq!(page.position, end);
            let Some(last) = page.publications.last() else { break };
            since = last.position;
            seen.extend(texts(&page));
        }
        assert_eq!(since, end);
        assert_eq!(seen, numbers(0..95), "{limit} at a time");
    }
}

#[tokio::test]
async fn without_a_position_the_newest_are_given_oldest_first() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..20).await;
    for limit in [1, 5, 20, 30] {
        let page = rooms.page("a", None, limit).await;
        assert_eq!(texts(&page), numbers(20 - limit.min(20)..20));
        assert!(page.recovered);
    }
}

#[tokio::test]
async fn a_limit_of_0_tells_the_position_alone() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..20).await;
    let position = rooms.position("a").await;
    for since in [None, Some(at(position, 0)), Some(at(position, 20)), Some(at(position, 21))] {
        let page = rooms.page("a", since, 0).await;
        assert_eq!((page.publications.len(), page.position, page.position.offset()), (0, position, 20));
        assert_eq!(page.recovered, since.is_none_or(|since| since.offset() < 21));
    }
}

#[tokio::test]
async fn a_position_that_is_no_longer_known_gives_what_there_is_and_says_so() {
    let rooms = Rooms::keeping(History::new().messages(10));
    rooms.say("a", 0..20).await;
    let position = rooms.position("a").await;
    let other_epoch: Position = format!("{:016x}-15", position.epoch() ^ 1).parse().unwrap();
    for (since, first, recovered) in [
        (at(position, 9), 11, false),
        (at(position, 10), 11, true),
        (at(position, 11), 12, true),
        (at(position, 19), 20, true),
        (at(position, 21), 11, false),
        (at(position, u64::MAX), 11, false),
        (other_epoch, 11, false),
    ] {
        let page = rooms.page("a", since, 3).await;
        assert_eq!((page.recovered, page.publications[0].position.offset()), (recovered, first), "since {since}");
        assert_eq!(page.publications.len(), 3.min(21 - first as usize));
        assert!(offsets(&page).is_sorted());
    }
    assert!(rooms.page("a", position, 3).await.publications.is_empty());
}

#[tokio::test]
async fn messages_are_what_was_sent() {
    let rooms = Rooms::keeping(History::new());
    let group = rooms.groups.group("a");
    let long = "ü\"\\\n\u{1F600}".repeat(20_000);
    group.send_text("text").await.unwrap();
    group.send_text("").await.unwrap();
    group.send_text(long.clone()).await.unwrap();
    group.send_bytes(vec![0, 255, 1]).await.unwrap();
    group.send_bytes(vec![]).await.unwrap();
    group.send_json(&serde_json::json!({"a": [1, "\"x\n"]})).await.unwrap();
    group.send_keyed("key", "keyed").await.unwrap();
    group.send_json_keyed("key", &7).await.unwrap();
    group.send_uncompressed("a secret").await.unwrap();
    let page = rooms.page("a", None, 100).await;
    let messages: Vec<_> = page.publications.iter().map(|one| one.message.clone()).collect();
    let expected: [Message; 9] = [
        "text".into(),
        "".into(),
        long.into(),
        vec![0, 255, 1].into(),
        vec![].into(),
        r#"{"a":[1,"\"x\n"]}"#.into(),
        "keyed".into(),
        "7".into(),
        "a secret".into(),
    ];
    assert_eq!(messages, expected);
    let json: serde_json::Value = page.publications[5].json().unwrap();
    assert_eq!(json["a"][1], "\"x\n");
    assert_eq!(page.publications[7].json::<u8>().unwrap(), 7);
    assert!(page.publications[0].json::<u8>().is_err());
}

#[tokio::test]
async fn a_position_survives_a_query_parameter() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..20).await;
    for offset in [0, 7, 20] {
        let since = at(rooms.position("a").await, offset);
        assert_eq!(since.to_string().parse(), Ok(since));
        let visitor = rooms.visit(&format!("/a?since={since}")).await;
        assert_eq!(visitor.numbers(), (offset as usize..20).collect::<Vec<_>>());
        assert_eq!(visitor.joined.position, Some(rooms.position("a").await));
    }
    for text in
        ["", "17", "9f3c2a0de1b45c77", "9f3c2a0de1b45c77-", "9f3c2a0de1b45c77--1", "9f3c-1", "9f3c2a0de1b45c77-1 "]
    {
        assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
    }
}
