//! Never a part of what was missed: all of it, or nothing and the reason.

use nexios::prelude::*;

use super::room::{Rooms, Visitor, at};

/// Nothing was replayed, the reason is told, and it goes on live.
async fn assert_begins_anew(rooms: &Rooms, visitor: &mut Visitor, reason: &str) {
    assert_eq!(visitor.missed, [], "{reason}");
    let joined = &visitor.joined;
    assert_eq!((joined.recovered, joined.replayed, joined.reason.as_deref()), (false, 0, Some(reason)));
    rooms.say("a", 1000..1003).await;
    visitor.hears(1000..1003).await;
}

#[tokio::test]
async fn a_position_of_another_epoch_is_not_recovered() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..10).await;
    let position = rooms.position("a").await;
    for offset in [0, 5, 10] {
        let mut visitor = rooms.visit(&format!("/a?since={:016x}-{offset}", position.epoch() ^ 1)).await;
        assert_begins_anew(&rooms, &mut visitor, "epoch_changed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_from_before_the_group_was_gone_is_not_recovered() {
    let age = std::time::Duration::from_mins(1);
    let rooms = Rooms::keeping(History::new().age(age));
    let before = rooms.visit("/a").await.joined.position.unwrap();
    tokio::time::sleep(age * 2).await;
    assert!(rooms.groups.is_empty());
    let mut visitor = rooms.visit(&format!("/a?since={before}")).await;
    assert_begins_anew(&rooms, &mut visitor, "epoch_changed").await;
}

#[tokio::test]
async fn the_newest_stand_in_for_what_cannot_be_recovered() {
    let rooms = Rooms::keeping(History::new().messages(10));
    rooms.say("a", 0..20).await;
    let end = rooms.position("a").await;
    let mut visitor = rooms.visit(&format!("/a?since={}&newest=4", at(end, 5))).await;
    assert_eq!(visitor.numbers(), [16, 17, 18, 19]);
    let joined = &visitor.joined;
    assert_eq!((joined.recovered, joined.replayed, joined.reason.as_deref()), (false, 4, Some("trimmed")));
    rooms.say("a", 20..21).await;
    visitor.hears(20..21).await;
}

#[tokio::test]
async fn a_position_from_the_future_is_not_recovered() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..10).await;
    for ahead in [1, 1_000_000, u64::MAX / 2] {
        // What the visitors before have heard counts as well.
        let position = rooms.position("a").await;
        let mut visitor = rooms.visit(&format!("/a?since={}", at(position, position.offset() + ahead))).await;
        assert_begins_anew(&rooms, &mut visitor, "epoch_changed").await;
    }
}

#[tokio::test]
async fn what_is_no_longer_kept_is_not_recovered() {
    let rooms = Rooms::keeping(History::new().messages(10));
    rooms.say("a", 0..20).await;
    let end = rooms.position("a").await;
    let visitor = rooms.visit(&format!("/a?since={}", at(end, 10))).await;
    assert_eq!(visitor.numbers(), (10..20).collect::<Vec<_>>());
    for offset in [0, 5, 9] {
        let mut visitor = rooms.visit(&format!("/a?since={}", at(end, offset))).await;
        assert_begins_anew(&rooms, &mut visitor, "trimmed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_recovered() {
    let rooms = Rooms::keeping(History::new().age(std::time::Duration::from_mins(1)));
    let _member = rooms.visit("/a").await;
    rooms.say("a", 0..1).await;
    let seen = rooms.position("a").await;
    rooms.say("a", 1..2).await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    rooms.say("a", 2..3).await;
    tokio::time::sleep(std::time::Duration::from_secs(29)).await;
    assert_eq!(rooms.visit(&format!("/a?since={seen}")).await.numbers(), [1, 2]);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut visitor = rooms.visit(&format!("/a?since={seen}")).await;
    assert_begins_anew(&rooms, &mut visitor, "trimmed").await;
}

#[tokio::test]
async fn more_than_the_queue_takes_is_not_recovered() {
    let each = GroupsConfig::new().each(GroupConfig::new().history(History::new()));
    for choice in [SlowConsumer::Close, SlowConsumer::DropNewest, SlowConsumer::DropOldest] {
        let config = Config::new().outbound_queue(4096).slow_consumer(choice);
        let rooms = Rooms::with(each.clone(), config);
        for number in 0..20 {
            rooms.groups.group("a").send_text(format!("{number:0500}")).await.unwrap();
        }
        let end = rooms.position("a").await;
        let back = rooms.visit(&format!("/a?since={}", at(end, 12))).await;
        assert_eq!(back.numbers(), (12..20).collect::<Vec<_>>(), "504 bytes for each");
        for offset in [0, 11] {
            let mut visitor = rooms.visit(&format!("/a?since={}", at(end, offset))).await;
            assert_eq!(visitor.missed, []);
            assert_eq!(visitor.joined.reason.as_deref(), Some("too_much"));
            rooms.groups.group("b").send_text("elsewhere").await.unwrap();
            let (again, report) = visitor.again(at(end, 20)).await;
            assert_eq!((again.len(), report.reason.as_deref()), (0, Some("already_member")));
        }
    }
}

#[tokio::test]
async fn a_member_is_not_replayed_what_it_was_sent() {
    let rooms = Rooms::keeping(History::new());
    let mut visitor = rooms.visit("/a").await;
    rooms.say("a", 0..5).await;
    visitor.hears(0..5).await;
    let end = rooms.position("a").await;
    for since in [at(end, 0), end] {
        let (missed, joined) = visitor.again(since).await;
        visitor.missed = missed;
        visitor.joined = joined;
        assert_begins_anew(&rooms, &mut visitor, "already_member").await;
    }
    // After it has left it is a newcomer.
    let end = rooms.position("a").await;
    visitor.websocket.send_text("leave").await.unwrap();
    assert_eq!(visitor.websocket.receive_text().await.unwrap(), "left");
    rooms.say("a", 5..8).await;
    let (missed, joined) = visitor.again(end).await;
    assert_eq!((missed.len(), joined.recovered), (3, true));
}

#[tokio::test]
async fn a_group_without_a_history_recovers_nothing() {
    let rooms = Rooms::new(GroupsConfig::new());
    let mut visitor = rooms.visit("/a?since=9f3c2a0de1b45c77-0").await;
    assert_begins_anew(&rooms, &mut visitor, "no_history").await;
    assert_eq!(visitor.joined.position, None);
}
