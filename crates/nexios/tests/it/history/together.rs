//! What all histories take together.

use std::sync::Arc;

use nexios::prelude::*;

use super::room::Rooms;
use crate::serving::pause;

fn rooms(bytes: usize) -> Rooms {
    let each = GroupConfig::new().history(History::new().messages(usize::MAX).bytes(usize::MAX));
    Rooms::new(GroupsConfig::new().each(each).histories(bytes))
}

#[tokio::test]
async fn all_histories_together_stay_below_their_bound() {
    const BOUND: usize = 200_000;
    let rooms = rooms(BOUND);
    let mut most = 0;
    for number in 0..3000 {
        let room = (number % 37).to_string();
        rooms.groups.group(&room).send_text("x".repeat(number % 900)).await.unwrap();
        most = most.max(rooms.groups.stats().history_bytes);
        assert!(most <= BOUND, "{most} bytes");
        if number % 50 == 0 {
            pause(1).await;
        }
    }
    assert!(most > BOUND / 2, "no more than {most} bytes were ever kept");
    pause(5).await;
    let stats = rooms.groups.stats();
    assert!((BOUND / 2..BOUND).contains(&stats.history_bytes), "{stats:?}");
}

#[tokio::test]
async fn one_group_alone_is_bound_as_well_without_a_turn_for_anybody() {
    let rooms = rooms(50_000);
    let publish = async {
        for number in 0..1000 {
            rooms.groups.group("a").send_text(format!("{number:0100}")).await.unwrap();
            assert!(rooms.groups.stats().history_bytes <= 50_000);
        }
    };
    tokio::task::unconstrained(publish).await;
    let kept = rooms.kept("a").await;
    assert!(kept.len() > 100 && kept.last().unwrap().ends_with("999"), "{} messages", kept.len());
}

#[tokio::test]
async fn the_oldest_of_all_groups_go_and_the_newer_ones_stay() {
    const GROUPS: usize = 400;
    const BOUND: usize = 800_000;
    let rooms = rooms(BOUND);
    // Each takes 512 bytes and 262 for a message: 310 KB are old, 520 newer, which is more than seven eighths.
    for room in 0..GROUPS {
        rooms.groups.group(format!("old {room}")).send_text("x".repeat(100)).await.unwrap();
    }
    pause(20).await;
    for round in 0..3 {
        for room in 0..GROUPS {
            rooms.groups.group(format!("new {room}")).send_text("x".repeat(100)).await.unwrap();
        }
        for _ in 0..500 {
            pause(10).await;
            if rooms.groups.stats().history_bytes <= BOUND / 8 * 7 {
                break;
            }
        }
        let bytes = rooms.groups.stats().history_bytes;
        assert!(bytes <= BOUND / 8 * 7, "{bytes} bytes in round {round}");
    }
    let mut left = [0, 0];
    for room in 0..GROUPS {
        for (left, age) in left.iter_mut().zip(["old", "new"]) {
            *left += rooms.groups.group(format!("{age} {room}")).stats().await.unwrap().history_messages;
        }
    }
    let [old, new] = left;
    // Each part of the groups gives its own oldest, so it is not exact.
    assert!(
        old < GROUPS * 3 / 4 && new > 3 * GROUPS - 100,
        "{old} of 400 old messages are left, and {new} of 1,200 newer ones"
    );
}

#[tokio::test]
async fn what_a_group_held_is_free_when_it_is_gone() {
    let age = std::time::Duration::from_millis(50);
    let each = GroupConfig::new().history(History::new().age(age));
    let rooms = Rooms::new(GroupsConfig::new().each(each).histories(20_000));
    for round in 0..10 {
        for room in 0..8 {
            let room = format!("{round} {room}");
            rooms.groups.group(&room).send_text("x".repeat(800)).await.unwrap();
            assert_eq!(rooms.kept(&room).await.len(), 1, "in round {round}");
        }
        for _ in 0..500 {
            if rooms.groups.is_empty() {
                break;
            }
            pause(5).await;
        }
        assert_eq!((rooms.groups.len(), rooms.groups.stats().history_bytes), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_bound_holds_whoever_publishes() {
    const BOUND: usize = 300_000;
    let rooms = Arc::new(rooms(BOUND));
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let rooms = Arc::clone(&rooms);
        publishers.spawn(async move {
            for number in 0..2000 {
                let room = ((number * 7 + publisher) % 50).to_string();
                rooms.groups.group(&room).send_text("x".repeat(300)).await.unwrap();
            }
        });
    }
    let mut most = 0;
    while !publishers.is_empty() {
        most = most.max(rooms.groups.stats().history_bytes);
        if let Ok(Some(publisher)) =
            tokio::time::timeout(std::time::Duration::from_millis(1), publishers.join_next()).await
        {
            publisher.unwrap();
        }
    }
    // Each publisher may have one message more in its hands, while others are counted.
    assert!(most <= BOUND + 20 * 1024, "{most} bytes");
    pause(20).await;
    let bytes = rooms.groups.stats().history_bytes;
    assert!((BOUND / 2..=BOUND).contains(&bytes), "{bytes} bytes are left");
}
