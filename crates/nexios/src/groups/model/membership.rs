//! Who is in a group, and what reaches them.

use shuttle::future::block_on;
use shuttle::thread::scope;

use super::{connection, explore, groups, join, leave, member_ids, of, send};
use crate::GroupsConfig;

#[test]
fn who_joins_sees_all_that_follows_in_the_order_of_all() {
    explore(|time| {
        let groups = groups(GroupsConfig::new());
        let room = groups.group("room");
        let (stayer, mut stayer_task, mut stayer_peer) = connection();
        let (comer, mut comer_task, mut comer_peer) = connection();
        join(&room, &stayer);
        scope(|threads| {
            for name in ["a", "b", "c"] {
                let room = &room;
                threads.spawn(move || (0..2).for_each(|n| send(room, format!("{name}{n}"))));
            }
            threads.spawn(|| {
                join(&room, &comer);
                send(&room, "own");
                // A message to one member comes behind what the same thread has published.
                block_on(comer.sender().send_text("direct")).unwrap();
            });
            threads.spawn(|| time.end_tick());
        });
        time.end_tick();
        let all = stayer_peer.rest(&mut stayer_task);
        let mut seen = comer_peer.rest(&mut comer_task);
        let direct = seen.iter().position(|text| text == "direct").unwrap();
        let own = seen.iter().position(|text| text == "own").unwrap();
        assert!(own < direct, "{seen:?}");
        seen.remove(direct);
        assert_eq!(all.len(), 7, "{all:?}");
        for name in ["a", "b", "c"] {
            assert_eq!(of(name, &all), [format!("{name}0"), format!("{name}1")]);
        }
        assert!(all.ends_with(&seen), "{seen:?} of {all:?}");
    });
}

#[test]
fn who_ends_is_in_no_group_afterwards_and_saw_a_part_without_gaps() {
    explore(|time| {
        let groups = groups(GroupsConfig::new());
        let (room, other) = (groups.group("room"), groups.group("other"));
        let (stayer, mut stayer_task, mut stayer_peer) = connection();
        let (comer, comer_task, mut comer_peer) = connection();
        let mut seen = Vec::new();
        join(&room, &stayer);
        scope(|threads| {
            threads.spawn(|| {
                // Or it is too late for one of them.
                let _ = block_on(other.join(&comer));
                let _ = block_on(room.join(&comer));
            });
            for name in ["a", "b"] {
                let room = &room;
                threads.spawn(move || (0..2).for_each(|n| send(room, format!("{name}{n}"))));
            }
            threads.spawn(|| {
                let mut task = comer_task;
                seen = comer_peer.rest(&mut task);
                // Its socket is gone.
                drop(task);
            });
            threads.spawn(|| time.end_tick());
        });
        time.end_tick();
        let all = stayer_peer.rest(&mut stayer_task);
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(seen.is_empty() || all.windows(seen.len()).any(|part| part == seen), "{seen:?} of {all:?}");
        assert_eq!(member_ids(&room), [stayer.id()]);
        assert!(block_on(other.is_empty()).unwrap());
        assert_eq!(groups.len(), 1, "a group without members is gone");
        leave(&room, &stayer);
        assert!(groups.is_empty());
    });
}

#[test]
fn who_leaves_has_seen_what_was_published_before_and_nothing_behind() {
    explore(|time| {
        let groups = groups(GroupsConfig::new());
        let room = groups.group("room");
        let (stayer, mut stayer_task, mut stayer_peer) = connection();
        let (leaver, mut leaver_task, mut leaver_peer) = connection();
        join(&room, &stayer);
        join(&room, &leaver);
        scope(|threads| {
            threads.spawn(|| (0..3).for_each(|n| send(&room, format!("a{n}"))));
            threads.spawn(|| {
                send(&room, "own");
                leave(&room, &leaver);
                block_on(leaver.sender().send_text("left")).unwrap();
            });
            threads.spawn(|| time.end_tick());
        });
        time.end_tick();
        let all = stayer_peer.rest(&mut stayer_task);
        let seen = leaver_peer.rest(&mut leaver_task);
        assert_eq!(seen.last().map(String::as_str), Some("left"), "{seen:?}");
        let seen = &seen[..seen.len() - 1];
        assert!(seen.contains(&"own".to_owned()), "{seen:?}");
        assert!(all.len() == 4 && all.starts_with(seen), "{seen:?} of {all:?}");
    });
}

#[test]
fn a_group_that_begins_anew_while_another_ends_loses_nobody() {
    explore(|time| {
        let groups = groups(GroupsConfig::new());
        let room = groups.group("room");
        let (first, _task, _peer) = connection();
        let (second, mut task, mut peer) = connection();
        join(&room, &first);
        scope(|threads| {
            threads.spawn(|| {
                leave(&room, &first);
                join(&room, &first);
                leave(&room, &first);
            });
            threads.spawn(|| {
                join(&room, &second);
                leave(&room, &second);
                join(&room, &second);
                send(&room, "own");
            });
            threads.spawn(|| (0..2).for_each(|n| send(&room, format!("a{n}"))));
            threads.spawn(|| time.end_tick());
        });
        send(&room, "last");
        time.end_tick();
        assert_eq!(member_ids(&room), [second.id()]);
        assert_eq!(groups.len(), 1);
        let seen = peer.rest(&mut task);
        assert!(seen.contains(&"own".to_owned()) && seen.last().is_some_and(|text| text == "last"), "{seen:?}");
        leave(&room, &second);
        assert!(groups.is_empty());
    });
}
