//! What is kept, for how long, and for whom.

use std::sync::atomic::Ordering;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread::scope;
use tokio::time::Instant;

use super::{Time, connection, explore, explore_with_time, groups, join, leave, send};
use crate::groups::history::STREAM;
use crate::{Group, GroupConfig, Groups, GroupsConfig, History, Position};

const AGE: Duration = Duration::from_mins(1);
/// Room for three groups and three messages.
const BOUND: usize = 3 * STREAM + 500;

fn groups_with(history: History) -> Groups {
    groups(GroupsConfig::new().each(GroupConfig::new().history(history)))
}

fn position(group: &Group) -> Position {
    block_on(group.history(None, 0)).unwrap().position
}

/// The offsets that these messages tell.
fn offsets(texts: &[String], epoch: u64) -> Vec<u64> {
    let offset = |text: &String| {
        let envelope: serde_json::Value = serde_json::from_str(text).unwrap();
        let position: Position = envelope["position"].as_str().unwrap().parse().unwrap();
        assert_eq!(position.epoch(), epoch);
        position.offset()
    };
    texts.iter().map(offset).collect()
}

#[test]
fn replay_and_live_are_one_stream_without_gaps_or_doubles() {
    explore(|time| {
        let groups = groups_with(History::new().with_positions());
        let room = groups.group("room");
        let stayers = [connection(), connection()];
        let (comer, mut task, mut peer) = connection();
        for (websocket, ..) in &stayers {
            join(&room, websocket);
        }
        let start = position(&room);
        publish_and_join(time, &room, || {
            let joined = block_on(room.join_since(&comer, start)).unwrap();
            assert!(joined.recovered, "{joined:?}");
        });
        let seen = peer.rest(&mut task);
        assert_eq!(offsets(&seen, start.epoch()), (1..=4).collect::<Vec<_>>(), "{seen:?}");
    });
}

#[test]
fn a_history_that_is_cut_short_is_never_replayed_in_part() {
    explore(|time| {
        let groups = groups_with(History::new().with_positions().messages(1));
        let room = groups.group("room");
        let stayers = [connection(), connection()];
        let (comer, mut task, mut peer) = connection();
        for (websocket, ..) in &stayers {
            join(&room, websocket);
        }
        let start = position(&room);
        let mut joined = None;
        publish_and_join(time, &room, || joined = Some(block_on(room.join_since(&comer, start)).unwrap()));
        let joined = joined.unwrap();
        let first = if joined.recovered { 1 } else { joined.position.unwrap().offset() + 1 };
        let seen = peer.rest(&mut task);
        assert_eq!(offsets(&seen, start.epoch()), (first..=4).collect::<Vec<_>>(), "{joined:?} {seen:?}");
    });
}

/// Two publish, and one more thread does this.
fn publish_and_join(time: &Time, room: &Group, comes: impl FnOnce() + Send) {
    scope(|threads| {
        for name in ["a", "b"] {
            threads.spawn(move || (0..2).for_each(|n| send(room, format!("{name}{n}"))));
        }
        threads.spawn(comes);
        threads.spawn(|| time.end_tick());
    });
    time.end_tick();
}

#[test]
fn a_group_is_found_as_long_as_it_has_a_history_and_gone_afterwards() {
    explore_with_time(|time| {
        let groups = groups_with(History::new().age(AGE));
        let room = groups.group("room");
        let (websocket, task, _peer) = connection();
        join(&room, &websocket);
        let mut sent = None;
        scope(|threads| {
            threads.spawn(|| (0..2).for_each(|n| send(&room, format!("a{n}"))));
            threads.spawn(|| {
                let began = Instant::now();
                send(&room, "b");
                sent = Some(began);
                assert!(keeps_b(&room) || began.elapsed() >= AGE);
            });
            threads.spawn(|| {
                leave(&room, &websocket);
                let _ = block_on(room.join(&websocket));
            });
            threads.spawn(|| drop(task));
            threads.spawn(|| time.pass(AGE));
            if let Some(group) = room.find() {
                group.deadline_has_come();
            }
        });
        time.end_tick();
        assert!(keeps_b(&room) || sent.is_some_and(|began| began.elapsed() >= AGE), "{:?}", groups.stats());
        check_bytes(&groups);
        let published = groups.stats().publications;
        time.pass(AGE * 2);
        assert!(groups.is_empty(), "{:?}", groups.stats());
        assert_eq!((groups.stats().history_bytes, groups.inner().histories.load(Ordering::Relaxed)), (0, 0));
        assert_eq!((published, groups.stats().publications), (3, 3), "each is counted once");
    });
}

fn keeps_b(room: &Group) -> bool {
    let page = block_on(room.history(None, 10)).unwrap();
    page.publications.iter().any(|published| published.message.as_text() == Some("b"))
}

#[test]
fn histories_count_right_while_they_make_room() {
    explore_with_time(|time| {
        let each = GroupConfig::new().history(History::new().age(AGE));
        // Three groups with three messages.
        let groups = groups(GroupsConfig::new().histories(BOUND).each(each));
        scope(|threads| {
            for name in ["a", "b", "c"] {
                let group = groups.group(name);
                threads.spawn(move || (0..2).for_each(|n| send(&group, format!("{n}"))));
            }
            threads.spawn(|| time.end_tick());
        });
        // What groups cost without their messages is beyond it for a moment.
        time.pass(Duration::from_millis(1));
        check_bytes(&groups);
        assert!(groups.stats().history_bytes <= BOUND, "{:?}", groups.stats());
        time.pass(AGE * 2);
        check_bytes(&groups);
        assert!(groups.is_empty());
    });
}

fn check_bytes(groups: &Groups) {
    assert_eq!(groups.stats().history_bytes, groups.inner().histories.load(Ordering::Relaxed));
}
