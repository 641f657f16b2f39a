//! A peer that does not keep up, and the task that writes to it.

use shuttle::future::block_on;
use shuttle::thread::{scope, spawn};

use super::{connection_with, explore, groups, join, of, send};
use crate::{Config, Group, GroupConfig, GroupsConfig, SlowConsumer};

const MESSAGES: usize = 8;

/// Bytes for a few of them, or for all.
const TIGHT: usize = 1_200;
const WIDE: usize = 4_000;

/// Of 100 bytes.
fn text(number: usize) -> String {
    format!("d{number:099}")
}

fn number(text: &str) -> usize {
    text[1..].parse().unwrap()
}

#[test]
fn the_newest_arrive_and_what_must_arrive_is_never_dropped() {
    explore(|_| {
        check(SlowConsumer::DropOldest, TIGHT, |room| (0..MESSAGES).for_each(|n| send(room, text(n))));
    });
}

#[test]
fn of_each_key_the_newest_arrives() {
    explore(|_| {
        let publish = |room: &Group| {
            for n in 0..MESSAGES {
                let key = ["even", "odd"][n % 2];
                block_on(room.send_keyed(key, text(n))).unwrap();
            }
        };
        let seen = check(SlowConsumer::Conflate, WIDE, publish);
        assert!(seen.contains(&(MESSAGES - 2)), "{seen:?}");
    });
}

#[test]
fn the_first_arrive_where_the_newest_are_dropped() {
    explore(|_| {
        let seen = check(SlowConsumer::DropNewest, TIGHT, |room| (0..MESSAGES).for_each(|n| send(room, text(n))));
        assert_eq!(seen[..2], [0, 1]);
    });
}

/// One publishes to a member that reads little by little, the handler of which sends as well. Returns what arrived.
fn check(choice: SlowConsumer, bound: usize, publish: impl Fn(&Group) + Send + Sync) -> Vec<usize> {
    let groups = groups(GroupsConfig::new().each(GroupConfig::new().slow_consumer(choice).member_queue(bound)));
    let room = groups.group("room");
    let (mut websocket, task, mut peer) = connection_with(Config::new().outbound_queue(bound + 400), 64);
    join(&room, &websocket);
    let task = spawn(|| task.run());
    let reader = spawn(move || peer.read_to("end"));
    scope(|threads| {
        threads.spawn(|| publish(&room));
        threads.spawn(|| {
            for n in 0..3 {
                // It waits for room, and drops nothing.
                block_on(websocket.send_text(format!("must{n}"))).unwrap();
            }
        });
    });
    block_on(websocket.send_text("end")).unwrap();
    let seen = reader.join().unwrap();
    task.join().unwrap();
    assert_eq!(of("must", &seen), ["must0", "must1", "must2"]);
    let numbers: Vec<_> = of("d", &seen).into_iter().map(number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let dropped = groups.stats().dropped;
    assert_eq!(usize::try_from(dropped).unwrap() + numbers.len(), MESSAGES, "{dropped} dropped of {numbers:?}");
    if choice != SlowConsumer::DropNewest {
        assert_eq!(numbers.last(), Some(&(MESSAGES - 1)), "the newest is not what is dropped");
    }
    numbers
}
