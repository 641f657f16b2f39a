//! A group whose messages an engine orders, while that comes and goes.

use std::collections::HashMap;

use futures_util::FutureExt;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::scope;

use super::{connection, explore_with_time, groups, join};
use crate::backplane::{Fate, ModelNode};
use crate::{GroupConfig, GroupsConfig, History, Position};

#[test]
fn each_stream_is_whole_or_flagged_while_the_engine_comes_and_goes() {
    explore_with_time(|time| {
        let history = History::new().with_positions();
        let groups = groups(GroupsConfig::new().each(GroupConfig::new().history(history.clone())));
        let engine = ModelNode::join(&groups, "room", &history);
        let room = groups.group("room");
        let (first, _first_task, _first_peer) = connection();
        let (websocket, mut task, mut peer) = connection();
        // With the first member a group comes into being, and sees the engine before others are let in.
        join(&room, &first);
        engine.finish();
        join(&room, &websocket);
        scope(|threads| {
            for sender in ["a", "b"] {
                let room = &room;
                threads.spawn(move || {
                    for number in 0..2 {
                        // It does not wait for the engine, so its next message is behind this one wherever that is.
                        let _ = room.send_text(format!("{sender}{number}")).now_or_never();
                    }
                });
            }
            threads.spawn(|| (0..2).for_each(|number| engine.other_says(&format!("c{number}"))));
            // A node has one thread for its engine.
            threads.spawn(|| {
                for _ in 0..8 {
                    match thread_rng().gen_range(0..5) {
                        0 => engine.publish(Fate::Taken),
                        1 => engine.publish(Fate::AnswerLost),
                        2 => engine.publish(Fate::Failed),
                        _ => drop(engine.hear()),
                    }
                }
            });
            threads.spawn(|| time.end_tick());
        });
        engine.finish();
        engine.other_says("z0");
        engine.finish();
        time.end_tick();
        check(&peer.rest(&mut task), &[('a', 1), ('b', 1), ('c', 1), ('z', 0)]);
    });
}

/// Between two flags each sender's messages are in order, without a double and without a gap; the last of each is there, or a
/// flag behind it.
fn check(texts: &[String], last: &[(char, u32)]) {
    let mut newest: HashMap<char, u32> = HashMap::new();
    // Since the last flag.
    let mut since: HashMap<char, u32> = HashMap::new();
    let mut is_flagged = false;
    let mut position: Option<Position> = None;
    for text in texts {
        let message: serde_json::Value = serde_json::from_str(text).unwrap();
        if message["event"] == "gap" {
            is_flagged = true;
            since.clear();
            continue;
        }
        let at: Position = message["position"].as_str().unwrap().parse().unwrap();
        if let Some(before) = position.replace(at).filter(|before| before.epoch() == at.epoch()) {
            assert!(before.offset() < at.offset(), "{texts:#?}");
        }
        let data = message["data"].as_str().unwrap();
        let sender = data.chars().next().unwrap();
        let number: u32 = data[1..].parse().unwrap();
        assert!(newest.insert(sender, number).is_none_or(|before| before < number), "a double: {texts:#?}");
        match since.insert(sender, number) {
            Some(before) => assert_eq!(before + 1, number, "a gap: {texts:#?}"),
            None => assert!(is_flagged || number == 0, "a gap: {texts:#?}"),
        }
    }
    for (sender, number) in last {
        let is_whole = since.get(sender) == Some(number) || is_flagged && !since.contains_key(sender);
        assert!(is_whole, "the last of {sender} is missing: {texts:#?}");
    }
}
