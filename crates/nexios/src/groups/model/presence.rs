//! Who is there, by those who are told.

use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread::scope;

use super::{connection, explore_with_time, groups};
use crate::{Group, GroupConfig, GroupsConfig, Join, WebSocket};

const GRACE: Duration = Duration::from_secs(5);

fn join_as(user: &str, group: &Group, websocket: &WebSocket) {
    block_on(group.join_with(websocket, Join::new().user(user))).unwrap();
}

/// What happened to users, in the order of the notices; the list comes first.
fn events(texts: &[String]) -> Vec<String> {
    let event = |text: &String| {
        let notice: serde_json::Value = serde_json::from_str(text).unwrap();
        format!("{} {}", notice["event"].as_str().unwrap(), notice["user"].as_str().unwrap())
    };
    texts[1..].iter().map(event).collect()
}

#[test]
fn a_user_with_two_tabs_is_listed_once_and_leaves_once() {
    explore_with_time(|time| {
        let groups = groups(GroupsConfig::new().each(GroupConfig::new().grace(GRACE)));
        let room = groups.group("room");
        let (watcher, mut watcher_task, mut watcher_peer) = connection();
        let (first, first_task, _first_peer) = connection();
        let (second, second_task, _second_peer) = connection();
        let (third, third_task, _third_peer) = connection();
        block_on(room.join_with(&watcher, Join::new().notices())).unwrap();
        join_as("ann", &room, &first);
        scope(|threads| {
            threads.spawn(|| join_as("ann", &room, &second));
            threads.spawn(|| drop(first_task));
            threads.spawn(|| {
                join_as("ann", &room, &third);
                drop(third_task);
            });
            threads.spawn(|| time.pass(GRACE));
        });
        time.end_tick();
        let users: Vec<_> = block_on(room.presence()).unwrap().into_iter().filter(|one| one.user.is_some()).collect();
        assert_eq!(users.len(), 1, "{users:?}");
        assert_eq!(users[0].connections, [second.id()]);
        drop(second_task);
        time.pass(GRACE / 2);
        assert_eq!(block_on(room.presence()).unwrap().len(), 2, "it may be back");
        time.pass(GRACE);
        assert_eq!(block_on(room.presence()).unwrap().len(), 1);
        let events = events(&watcher_peer.rest(&mut watcher_task));
        let is_alternating = (0..).zip(&events).all(|(at, event)| event == ["join ann", "leave ann"][at % 2]);
        assert!(is_alternating && events.len().is_multiple_of(2) && !events.is_empty(), "{events:?}");
        drop(watcher_task);
        assert!(groups.is_empty());
    });
}

/// Those who are there join together: in the end each of the watchers knows of each other by the list or by one notice.
#[test]
fn who_joins_in_a_batch_is_shown_or_told_each_other_once() {
    explore_with_time(|time| {
        let groups = groups(GroupsConfig::new());
        let room = groups.group("room");
        let (first, mut first_task, mut first_peer) = connection();
        let (second, mut second_task, mut second_peer) = connection();
        let (third, third_task, _third_peer) = connection();
        block_on(room.join_with(&first, Join::new().user("first").notices())).unwrap();
        scope(|threads| {
            threads.spawn(|| block_on(room.join_with(&second, Join::new().user("second").notices())).unwrap());
            threads.spawn(|| {
                join_as("third", &room, &third);
                super::send(&room, "said");
            });
            threads.spawn(|| time.end_tick());
        });
        time.end_tick();
        for texts in [first_peer.rest(&mut first_task), second_peer.rest(&mut second_task)] {
            let mut users = Vec::new();
            for text in &texts {
                let told: serde_json::Value = serde_json::from_str(text).unwrap();
                match told["event"].as_str() {
                    Some("present") => users = told["present"].as_array().unwrap().clone(),
                    Some("join") => users.push(told.clone()),
                    Some(other) => panic!("{other}"),
                    None => {
                        assert_eq!(told["data"], "said", "in its envelope");
                        assert!(
                            users.iter().any(|one| one["user"] == "third"),
                            "it came behind who said it: {texts:?}"
                        );
                    }
                }
            }
            let mut users: Vec<_> = users.iter().map(|one| one["user"].as_str().unwrap()).collect();
            users.sort_unstable();
            assert_eq!(users, ["first", "second", "third"], "{texts:?}");
        }
        drop((first_task, second_task, third_task));
    });
}
