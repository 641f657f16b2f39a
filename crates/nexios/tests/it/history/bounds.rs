//! How much is kept, how long, and what is left when nothing is.

use std::time::Duration;

use nexios::GroupError;
use nexios::prelude::*;

use super::room::{Rooms, numbers, offsets};

const AGE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn offsets_count_up_from_1_without_a_gap() {
    let rooms = Rooms::keeping(History::new().messages(10));
    rooms.say("a", 0..1).await;
    let page = rooms.page("a", None, 10).await;
    assert_eq!((offsets(&page), page.position.offset()), (vec![1], 1));
    rooms.say("a", 1..50).await;
    let page = rooms.page("a", None, 100).await;
    assert_eq!((offsets(&page), page.position.offset()), ((41..=50).collect(), 50));
    assert!(page.publications.iter().all(|one| one.position.epoch() == page.position.epoch()));
}

#[tokio::test]
async fn the_newest_so_many_messages_are_kept() {
    let rooms = Rooms::keeping(History::new().messages(3));
    for published in 1..10 {
        rooms.say("a", published - 1..published).await;
        assert_eq!(rooms.kept("a").await, numbers(published.saturating_sub(3)..published));
    }
    assert_eq!(rooms.groups.stats().history_messages, 3);
}

#[tokio::test]
async fn the_newest_so_many_bytes_are_kept_each_message_with_its_place() {
    let rooms = Rooms::keeping(History::new().bytes(10_000).messages(usize::MAX));
    let group = rooms.groups.group("a");
    for number in 0..100 {
        group.send_text(format!("{number:0840}")).await.unwrap();
        let stats = group.stats().await.unwrap();
        assert!(stats.history_bytes <= 10_000, "{stats:?}");
        assert_eq!(stats.history_messages, (number + 1).min(9), "1,004 bytes for each");
    }
    // Small ones cost their place.
    rooms.say("a", 0..1000).await;
    assert!(group.stats().await.unwrap().history_messages < 62);
    assert_eq!(rooms.kept("a").await.last().unwrap(), "999");
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_not_kept_but_counted() {
    let rooms = Rooms::keeping(History::new().bytes(1000));
    let visitor = rooms.visit("/a").await;
    rooms.say("a", 0..2).await;
    rooms.groups.group("a").send_text("x".repeat(2000)).await.unwrap();
    assert!(rooms.kept("a").await.is_empty());
    rooms.say("a", 3..4).await;
    let page = rooms.page("a", visitor.joined.position, 10).await;
    assert_eq!((offsets(&page), page.recovered), (vec![4], false));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_kept_for_its_age() {
    let rooms = Rooms::keeping(History::new().age(AGE));
    for number in 0..10 {
        rooms.say("a", number..number + 1).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    // It is 100 s now.
    assert_eq!(rooms.kept("a").await, numbers(5..10));
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(rooms.groups.stats().history_messages, 3, "nobody had to ask");
    assert_eq!(rooms.kept("a").await, numbers(7..10));
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_with_its_last_message_without_another_call() {
    let rooms = Rooms::keeping(History::new().age(AGE));
    for room in 0..200 {
        rooms.say(&room.to_string(), 0..room % 5 + 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rooms.groups.len(), 200);
    tokio::time::sleep(Duration::from_secs(39)).await;
    assert_eq!(rooms.groups.len(), 200);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let left = rooms.groups.len();
    assert!((80..=120).contains(&left), "{left} groups are left in the middle");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(rooms.groups.len(), 0);
    let stats = rooms.groups.stats();
    assert_eq!((stats.groups, stats.members, stats.history_messages, stats.history_bytes), (0, 0, 0, 0));
    assert_eq!(stats.publications, 600, "what was done is not forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_group_with_a_member_goes_on_counting_when_its_history_is_old() {
    let rooms = Rooms::keeping(History::new().age(AGE));
    let visitor = rooms.visit("/a").await;
    rooms.say("a", 0..5).await;
    let before = rooms.position("a").await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(rooms.groups.stats().history_messages, 0);
    assert_eq!((rooms.position("a").await, rooms.groups.len()), (before, 1));
    drop(visitor);
}

/// A client that comes back after a pause finds its place, also in a group where little is said.
#[tokio::test(start_paused = true)]
async fn a_position_is_kept_for_the_age_after_the_last_member_has_gone() {
    let rooms = Rooms::keeping(History::new().age(AGE));
    let visitor = rooms.visit("/a").await;
    let before = visitor.joined.position.unwrap();
    tokio::time::sleep(AGE * 3).await;
    // The group is looked after while its member is there.
    assert_eq!(rooms.position("a").await, before);
    drop(visitor);
    crate::serving::wait_for_connections(&rooms.client.handle(), 0).await;
    tokio::time::sleep(AGE * 3 / 4).await;
    let back = rooms.visit(&format!("/a?since={before}")).await;
    assert!(back.joined.recovered && back.joined.position == Some(before), "{:?}", back.joined);
    drop(back);
    crate::serving::wait_for_connections(&rooms.client.handle(), 0).await;
    tokio::time::sleep(AGE + Duration::from_secs(1)).await;
    assert!(rooms.groups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_epoch_is_another_one_after_the_group_was_gone() {
    let rooms = Rooms::keeping(History::new().age(AGE));
    rooms.say("a", 0..1).await;
    let before = rooms.position("a").await;
    tokio::time::sleep(AGE + Duration::from_secs(1)).await;
    assert!(rooms.groups.is_empty());
    let _visitor = rooms.visit("/a").await;
    let after = rooms.position("a").await;
    assert_ne!(after.epoch(), before.epoch());
    assert_eq!((before.offset(), after.offset()), (1, 0));
}

#[tokio::test]
async fn what_is_published_while_nobody_is_there_is_kept() {
    let rooms = Rooms::keeping(History::new());
    rooms.say("a", 0..20).await;
    assert_eq!((rooms.groups.len(), rooms.kept("a").await), (1, numbers(0..20)));
    let visitor = rooms.visit("/a?newest=100").await;
    assert_eq!(visitor.numbers(), (0..20).collect::<Vec<_>>());
    drop(visitor);
    crate::serving::wait_for_connections(&rooms.client.handle(), 0).await;
    assert_eq!((rooms.groups.len(), rooms.kept("a").await), (1, numbers(0..20)));
}

#[tokio::test]
async fn without_a_history_nothing_is_kept_and_the_group_does_not_exist() {
    let rooms = Rooms::new(GroupsConfig::new());
    rooms.say("a", 0..20).await;
    rooms.groups.send_to(["a", "b"], "to nobody").await.unwrap();
    assert_eq!(rooms.groups.len(), 0);
    for limit in [0, 10] {
        let error = rooms.groups.group("a").history(None, limit).await.unwrap_err();
        assert!(matches!(error, Error::Group(GroupError::NoHistory)), "{error}");
    }
    assert_eq!(rooms.groups.len(), 0);
    let visitor = rooms.visit("/a?newest=5").await;
    assert_eq!((visitor.missed, visitor.joined.position), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn asking_for_the_history_of_nothing_leaves_a_position_for_its_age() {
    let rooms = Rooms::keeping(History::new().age(AGE));
    let page = rooms.page("a", None, 10).await;
    assert_eq!((page.publications.len(), page.position.offset(), page.recovered), (0, 0, true));
    assert_eq!(rooms.position("a").await, page.position);
    assert_eq!(rooms.groups.stats().history_messages, 0);
    tokio::time::sleep(AGE + Duration::from_secs(1)).await;
    assert_eq!((rooms.groups.len(), rooms.groups.stats().history_bytes), (0, 0));
}

#[tokio::test]
async fn groups_differ_by_their_names() {
    let config = GroupsConfig::new().by_name(|name| {
        let kept = match name {
            "many" => 50,
            "few" => 2,
            _ => return None,
        };
        Some(GroupConfig::new().history(History::new().messages(kept)))
    });
    let rooms = Rooms::new(config);
    for room in ["many", "few", "none"] {
        rooms.say(room, 0..100).await;
    }
    assert_eq!((rooms.kept("many").await.len(), rooms.kept("few").await.len()), (50, 2));
    assert_eq!(rooms.groups.len(), 2);
}
