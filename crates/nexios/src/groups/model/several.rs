//! Several groups at once.

use shuttle::future::block_on;
use shuttle::thread::scope;

use super::{Time, connection, explore, groups, join, leave, send};
use crate::{GroupConfig, Groups, GroupsConfig, History};

#[test]
fn members_of_two_groups_see_what_is_sent_to_both_once_and_in_one_order() {
    explore(|time| check(time, &groups(GroupsConfig::new())));
}

#[test]
fn messages_that_tell_positions_have_that_order_too() {
    explore(|time| {
        let history = History::new().with_positions();
        check(time, &groups(GroupsConfig::new().each(GroupConfig::new().history(history))));
    });
}

fn check(time: &Time, groups: &Groups) {
    let (a, b) = (groups.group("a"), groups.group("b"));
    let mut members: Vec<_> = (0..4).map(|_| connection()).collect();
    let (guest, mut guest_task, mut guest_peer) = connection();
    // Two are in both groups, and one each is in one.
    members[..3].iter().for_each(|(websocket, ..)| join(&a, websocket));
    members[1..].iter().for_each(|(websocket, ..)| join(&b, websocket));
    scope(|threads| {
        threads.spawn(|| {
            send(&a, "a x1");
            send(&b, "b x2");
            block_on(groups.send_to(["a", "b"], "ab x3")).unwrap();
        });
        threads.spawn(|| block_on(groups.send_to(["b", "a", "b"], "ab y1")).unwrap());
        threads.spawn(|| {
            join(&b, &guest);
            join(&a, &guest);
            leave(&b, &guest);
        });
        threads.spawn(|| time.end_tick());
    });
    time.end_tick();
    let seen: Vec<_> = members.iter_mut().map(|(_, task, peer)| plain(peer.rest(task))).collect();
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [3, 4, 4, 3], "{seen:?}");
    let of_x = |texts: &[String]| texts.iter().filter(|text| text.contains('x')).cloned().collect::<Vec<_>>();
    assert_eq!(of_x(&seen[1]), ["a x1", "b x2", "ab x3"]);
    let of = |group: char, texts: &[String]| {
        let is_of = |text: &&String| text.split(' ').next().is_some_and(|groups| groups.contains(group));
        texts.iter().filter(is_of).cloned().collect::<Vec<_>>()
    };
    assert!(seen[..3].iter().all(|one| of('a', one) == seen[0]), "{seen:?}");
    assert!(seen[1..].iter().all(|one| of('b', one) == seen[3]), "{seen:?}");
    // It was always in one of them.
    let of_both = |texts: &[String]| texts.iter().filter(|text| text.starts_with("ab")).cloned().collect::<Vec<_>>();
    let guest = of_both(&plain(guest_peer.rest(&mut guest_task)));
    assert!(of_both(&seen[0]).ends_with(&guest), "{guest:?} of {seen:?}");
}

/// Without their envelopes.
fn plain(texts: Vec<String>) -> Vec<String> {
    let data = |text: String| match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(envelope) => envelope["data"].as_str().unwrap().to_owned(),
        Err(_) => text,
    };
    texts.into_iter().map(data).collect()
}
