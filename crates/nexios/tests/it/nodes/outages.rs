//! The engine goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexios::BackplaneConfig;

use super::{Client, Command, Setup, TestNode, eventually, have_met, is_gap, text_of};

/// Ann on one node and Bob on another, in a room in which he has been told of her.
async fn who_know_each_other(a: &TestNode, b: &TestNode) -> (Client, Client) {
    let (mut ann, mut bob) = (a.connect().await, b.connect().await);
    for (client, name) in [(&mut bob, "bob"), (&mut ann, "ann")] {
        let user = Some(name.to_owned());
        client.join_with(Command { join: Some("room".into()), user, notices: true, ..Command::default() }).await;
    }
    bob.until(|message| message["event"] == "join" && message["user"] == "ann").await;
    (ann, bob)
}

#[tokio::test]
async fn members_of_one_node_reach_each_other_without_an_engine() {
    let (_memory, [a]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.member("h").await, a.member("h").await);
    ann.say("h", "before").await;
    bob.texts(1).await;
    a.backplane.cut();
    let began = Instant::now();
    for number in 0..20 {
        ann.say("h", &number.to_string()).await;
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(bob.texts(20).await, expected);
}

#[tokio::test]
async fn a_frozen_engine_holds_a_handler_for_the_timeout_and_no_longer() {
    let (_memory, [a]) = Setup::hasty().nodes();
    let (mut ann, mut bob) = (a.member("h").await, a.member("h").await);
    a.backplane.freeze();
    let began = Instant::now();
    ann.say("h", "one").await;
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    assert_eq!(bob.texts(1).await, ["one"]);
    let began = Instant::now();
    ann.say("h", "two").await;
    assert!(began.elapsed() < Duration::from_millis(150), "it is known to be away: {:?}", began.elapsed());
    let mut late = a.connect().await;
    late.join("other").await;
}

#[tokio::test]
async fn what_a_node_has_missed_reaches_its_members_from_the_history() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    ann.say("h", "before").await;
    assert_eq!(bob.texts(1).await, ["before"]);
    b.backplane.cut();
    for number in 0..10 {
        ann.say("h", &number.to_string()).await;
    }
    bob.silence().await;
    b.backplane.heal();
    let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(bob.texts(10).await, expected, "without a gap, and without being told of one");
    ann.say("h", "after").await;
    assert_eq!(bob.texts(1).await, ["after"]);
}

#[tokio::test]
async fn members_of_a_group_without_a_history_are_told_of_the_gap() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut ann = a.member("room").await;
    let mut bob = b.connect().await;
    bob.join_with(Command { join: Some("room".into()), notices: true, ..Command::default() }).await;
    assert_eq!(bob.next().await["event"], "present");
    b.backplane.cut();
    ann.say("room", "lost").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    b.backplane.heal();
    assert!(is_gap(&bob.next().await));
    ann.say("room", "after").await;
    assert_eq!(bob.texts(1).await, ["after"]);
}

#[tokio::test]
async fn a_node_that_went_on_alone_tells_its_members_and_nobody_gets_anything_twice() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    ann.say("h", "before").await;
    bob.texts(1).await;
    a.backplane.cut();
    for text in ["alone 1", "alone 2"] {
        let seen = ann.say("h", text).await;
        assert_eq!(seen.iter().filter_map(text_of).collect::<Vec<_>>(), [text]);
    }
    let mut other = b.connect().await;
    other.say("h", "meanwhile").await;
    assert_eq!(bob.texts(1).await, ["meanwhile"]);
    a.backplane.heal();
    assert_eq!(bob.texts(2).await, ["alone 1", "alone 2"], "they come late, in order, and once");
    assert!(is_gap(&ann.next().await), "she has not seen what was said meanwhile");
    other.say("h", "after").await;
    assert_eq!(ann.texts(1).await, ["after"]);
    assert_eq!(bob.texts(1).await, ["after"]);
    ann.silence().await;
    bob.silence().await;
}

#[tokio::test]
async fn an_engine_that_comes_back_empty_begins_another_stream() {
    let (memory, [a, b]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    let position = ann.say("h", "before").await[0]["position"].as_str().unwrap().to_owned();
    bob.texts(1).await;
    memory.restart_empty();
    assert!(is_gap(&bob.next().await));
    assert!(is_gap(&ann.next().await));
    ann.say("h", "after").await;
    let after = bob.next().await;
    assert_eq!(text_of(&after).as_deref(), Some("after"));
    assert_ne!(position.split('-').next(), after["position"].as_str().unwrap().split('-').next());
    let since = position.parse().ok();
    let mut late = b.connect().await;
    let joined = late.join_with(Command { join: Some("h".into()), since, ..Command::default() }).await;
    assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"epoch_changed".into()));
}

#[tokio::test]
async fn answers_that_are_lost_double_nothing() {
    let (_memory, [a, b]) = Setup::new().nodes();
    for group in ["room", "h"] {
        let (mut ann, mut bob) = (a.connect().await, b.member(group).await);
        a.backplane.lose_answers();
        for number in 0..5 {
            ann.say(group, &number.to_string()).await;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        a.backplane.heal();
        ann.say(group, "end").await;
        assert_eq!(bob.texts(6).await, ["0", "1", "2", "3", "4", "end"], "{group}");
        bob.silence().await;
        eventually("it is there again", async || a.handle.backplane().unwrap().away.is_none()).await;
    }
}

#[tokio::test]
async fn an_outbox_that_is_full_loses_nothing_silently() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().outbox(4000), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    let (mut ann, mut member) = (a.connect().await, a.member("room").await);
    let mut bob = b.connect().await;
    bob.join_with(Command { join: Some("room".into()), notices: true, ..Command::default() }).await;
    assert_eq!(bob.next().await["event"], "present");
    a.backplane.cut();
    let count = 100;
    for number in 0..count {
        ann.say("room", &number.to_string()).await;
    }
    assert_eq!(member.texts(count).await.len(), count, "members of this node get all of it");
    let status = a.handle.backplane().unwrap();
    assert!(status.outbox_bytes <= 4000 && status.lost > 0, "{status:?}");
    a.backplane.heal();
    let mut next = 0;
    loop {
        let message = bob.next().await;
        if is_gap(&message) {
            break;
        }
        if let Some(text) = text_of(&message) {
            assert_eq!(text, next.to_string(), "no gap before one is told");
            next += 1;
        }
    }
    // The gap is heard elsewhere before this node knows that there is room.
    eventually("all of it is published", async || a.handle.backplane().unwrap().outbox_bytes == 0).await;
    ann.say("room", "after").await;
    bob.until(|message| text_of(message).as_deref() == Some("after")).await;
}

#[tokio::test]
async fn what_is_for_no_group_is_no_gap_when_there_is_no_room_for_it() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().outbox(4000), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    let mut ann = a.connect().await;
    let mut bob = b.connect().await;
    bob.join_with(Command { join: Some("room".into()), notices: true, ..Command::default() }).await;
    assert_eq!(bob.next().await["event"], "present");
    have_met(&a.handle, &b.handle).await;
    a.backplane.cut();
    for number in 0..100 {
        ann.say("another room", &number.to_string()).await;
    }
    let lost = a.handle.backplane().unwrap().lost;
    a.handle.send_to_user("nobody", "x".repeat(4000));
    assert_eq!(a.handle.backplane().unwrap().lost, lost + 1);
    a.backplane.heal();
    eventually("all of it is published", async || a.handle.backplane().unwrap().outbox_bytes == 0).await;
    bob.silence().await;
}

#[tokio::test]
async fn who_came_and_went_while_the_outbox_was_full_is_known_afterwards() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().outbox(4000), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    let user =
        |name: &str, group: &str| Command { join: Some(group.into()), user: Some(name.into()), ..Command::default() };
    let (mut ann, mut abe, mut bob) = (a.connect().await, a.connect().await, b.connect().await);
    ann.join_with(user("ann", "left")).await;
    bob.join_with(user("bob", "left")).await;
    bob.join_with(user("bob", "joined")).await;
    let users = async |group: &str| {
        let present = b.groups.group(group).presence().await.unwrap();
        let mut users: Vec<_> = present.iter().filter_map(|one| one.user.as_deref().map(str::to_owned)).collect();
        users.sort();
        users
    };
    eventually("ann is known", async || users("left").await == ["ann", "bob"]).await;
    a.backplane.cut();
    for number in 0..100 {
        abe.say("another room", &number.to_string()).await;
    }
    ann.command(Command { leave: Some("left".into()), ..Command::default() }).await;
    abe.join_with(user("abe", "joined")).await;
    eventually("nobody is there", async || a.groups.group("left").members().await.unwrap().is_empty()).await;
    a.backplane.heal();
    eventually("ann is gone", async || users("left").await == ["bob"]).await;
    eventually("abe is known", async || users("joined").await == ["abe", "bob"]).await;
}

#[tokio::test]
async fn a_user_is_closed_on_all_nodes_although_the_outbox_is_full() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().outbox(4000), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    have_met(&a.handle, &b.handle).await;
    let mut ann = a.connect().await;
    let mut bob = b.connect_to("/?user=bob").await;
    bob.join("room").await;
    a.backplane.cut();
    for number in 0..100 {
        ann.say("another room", &number.to_string()).await;
    }
    a.handle.close_user("bob", 4001, "signed out");
    a.backplane.heal();
    eventually("he is closed", async || b.handle.connection_count() == 0).await;
}

#[tokio::test]
async fn a_full_outbox_does_not_keep_members_of_one_node_apart_and_others_are_told() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().outbox(4000), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    a.backplane.cut();
    for number in 0..100 {
        let text = format!("{number:0>100}");
        let seen = ann.say("h", &text).await;
        assert_eq!(seen.iter().filter_map(text_of).collect::<Vec<_>>(), [text]);
    }
    a.backplane.heal();
    let mut next = 0;
    loop {
        let message = bob.next().await;
        if is_gap(&message) {
            break;
        }
        assert_eq!(text_of(&message), Some(format!("{next:0>100}")), "no gap before one is told");
        next += 1;
    }
    assert!(next > 0 && next < 100, "{next}");
}

#[tokio::test]
async fn who_was_away_when_a_loss_was_told_does_not_recover() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().outbox(4000), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    ann.say("h", "before").await;
    let seen = bob.next().await;
    drop(bob);
    a.backplane.cut();
    for number in 0..100 {
        ann.say("h", &format!("{number:0>100}")).await;
    }
    a.backplane.heal();
    eventually("all of it is published", async || a.handle.backplane().unwrap().outbox_bytes == 0).await;
    let since = seen["position"].as_str().unwrap().parse().ok();
    let mut bob = b.connect().await;
    let joined = bob.join_with(Command { join: Some("h".into()), since, ..Command::default() }).await;
    assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"trimmed".into()), "{joined}");
    let page = b.groups.group("h").history(since, 100).await.unwrap();
    assert!(!page.recovered && !page.publications.is_empty());
    // Who has seen the loss has all that comes behind it.
    ann.say("h", "after").await;
    let since = joined["position"].as_str().unwrap().parse().ok();
    let mut bea = b.connect().await;
    let joined = bea.join_with(Command { join: Some("h".into()), since, ..Command::default() }).await;
    assert_eq!(joined["recovered"], true, "{joined}");
}

#[tokio::test]
async fn an_engine_that_is_slow_refuses_what_it_would_have_to_order() {
    let setup = Setup::new();
    let backplane = setup.backplane.clone().outbox(4000).timeout(Duration::from_secs(5));
    let (_memory, [a]) = Setup { backplane, ..setup }.nodes();
    eventually("it is there", async || a.handle.backplane().unwrap().away.is_none()).await;
    a.backplane.freeze();
    let group = a.groups.group("h");
    let sent = (0..100).map(|_| tokio::time::timeout(Duration::from_millis(200), group.send_text("x".repeat(100))));
    let sent = futures_util::future::join_all(sent).await;
    let errors = sent.iter().filter(|sent| matches!(sent, Ok(Err(nexios::Error::Backplane(_))))).count();
    assert!(errors > 50, "{errors}");
    a.backplane.heal();
}

#[tokio::test]
async fn readiness_and_status_show_it() {
    let (_memory, [a]) = Setup::new().nodes();
    eventually("it is connected", async || a.ready().await.0 == 200).await;
    a.backplane.cut();
    eventually("it is away", async || a.ready().await.0 == 503).await;
    let (_, text) = a.ready().await;
    assert!(text.starts_with("backplane: memory is away for "), "{text}");
    let status = a.handle.backplane().unwrap();
    assert_eq!((status.engine, status.outages), ("memory", 1));
    a.backplane.heal();
    eventually("it is there", async || a.ready().await.0 == 200).await;

    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().unready(false), ..setup };
    let (_memory, [a]) = setup.nodes();
    a.backplane.cut();
    eventually("it is away", async || a.handle.backplane().unwrap().away.is_some()).await;
    assert_eq!(a.ready().await.0, 200);
}

#[tokio::test]
async fn the_application_is_told_of_gaps() {
    let gaps = Arc::new(AtomicUsize::new(0));
    let setup = Setup::new();
    let counted = Arc::clone(&gaps);
    let groups = setup.groups.clone().on_gap(move |event| {
        assert_eq!(event.group(), "room");
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (_memory, [a]) = Setup { groups, ..setup }.nodes();
    let _ann = a.member("room").await;
    a.backplane.cut();
    a.backplane.heal();
    eventually("one gap", async || gaps.load(Ordering::Relaxed) == 1).await;
    assert_eq!(a.handle.backplane().unwrap().gaps, 1);
}

#[tokio::test]
async fn an_app_starts_without_its_engine() {
    let setup = Setup { backplane: BackplaneConfig::new().timeout(Duration::from_millis(200)), ..Setup::new() };
    let memory = nexios::backplane::Memory::new();
    let a = setup.node(&memory);
    a.backplane.cut();
    let (mut ann, mut bob) = (a.member("h").await, a.member("h").await);
    ann.say("h", "hello").await;
    assert_eq!(bob.texts(1).await, ["hello"]);
}

#[tokio::test]
async fn who_goes_on_alone_behind_a_gap_is_told_of_it_first() {
    let (_memory, [a, b]) = Setup::hasty().nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    let mut bea = b.connect().await;
    bea.say("h", "before").await;
    assert_eq!(bob.texts(1).await, ["before"]);
    // Subscriptions break, publishing goes on; then the engine freezes before they stand again.
    b.backplane.deafen();
    ann.say("h", "missed").await;
    bea.say("h", "own").await;
    b.backplane.freeze();
    bea.say("h", "alone").await;
    let mut told = false;
    loop {
        let message = bob.next().await;
        told |= is_gap(&message);
        match text_of(&message).as_deref() {
            Some("alone") => break,
            Some("own") => told = true,
            _ => {}
        }
    }
    assert!(told, "the publisher's message before is missing, and nobody says so");
}

#[tokio::test]
async fn what_is_not_for_a_group_comes_once_too() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let (mut bob, mut bea) = (b.connect_to("/?user=bob").await, b.connect().await);
    bob.join("room").await;
    bea.join("room").await;
    have_met(&a.handle, &b.handle).await;
    a.backplane.lose_answers();
    a.groups.broadcast("to all").await.unwrap();
    a.handle.send_to_user("bob", "to bob");
    tokio::time::sleep(Duration::from_millis(500)).await;
    a.backplane.heal();
    assert_eq!(bob.texts(2).await, ["to all", "to bob"]);
    assert_eq!(bea.texts(1).await, ["to all"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    for client in [&mut bob, &mut bea] {
        client.silence().await;
    }
}

#[tokio::test]
async fn who_left_while_a_node_was_deaf_is_gone_there_too() {
    let (_memory, [a, b]) = Setup::hasty().nodes();
    let (mut ann, mut bob) = who_know_each_other(&a, &b).await;
    b.backplane.deafen();
    ann.command(Command { leave: Some("room".into()), ..Command::default() }).await;
    eventually("nobody is there", async || a.groups.group("room").members().await.unwrap().is_empty()).await;
    b.backplane.heal();
    bob.until(|message| message["event"] == "leave" && message["user"] == "ann").await;
    assert_eq!(b.groups.group("room").presence().await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_was_there_all_the_time_does_not_leave_when_a_node_was_deaf() {
    let (_memory, [a, b]) = Setup::hasty().nodes();
    let (mut ann, mut bob) = who_know_each_other(&a, &b).await;
    b.backplane.deafen();
    tokio::time::sleep(Duration::from_millis(100)).await;
    b.backplane.heal();
    bob.until(is_gap).await;
    // Longer than others are given to answer, twice.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ann.say("room", "here").await;
    loop {
        let message = bob.next().await;
        assert_ne!(message["event"], "leave");
        if text_of(&message).as_deref() == Some("here") {
            break;
        }
    }
}

#[tokio::test]
async fn a_user_is_closed_on_a_node_that_was_deaf_but_not_who_has_come_since() {
    let (_memory, [a, b]) = Setup::new().nodes();
    have_met(&a.handle, &b.handle).await;
    let mut before = b.connect_to("/?user=bob").await;
    before.join("room").await;
    b.backplane.deafen();
    a.handle.close_user("bob", 4001, "signed out");
    eventually("it is published", async || a.handle.backplane().unwrap().outbox_bytes == 0).await;
    // What is said of a time is later by as much as it takes to say it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut since = b.connect_to("/?user=bob").await;
    since.join("room").await;
    b.backplane.heal();
    eventually("one is closed", async || b.handle.connection_count() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    since.say("room", "still here").await;
}

#[tokio::test]
async fn who_has_seen_more_than_the_node_it_comes_to_recovers() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    ann.say("h", "0").await;
    bob.texts(1).await;
    b.backplane.deafen();
    ann.say("h", "1").await;
    let seen = ann.say("h", "2").await;
    let since = seen.last().unwrap()["position"].as_str().unwrap().parse().ok();
    let mut moved = b.connect().await;
    let joined = moved.join_with(Command { join: Some("h".into()), since, ..Command::default() }).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!(bob.texts(2).await, ["1", "2"], "and so do those who were there");
}

#[tokio::test]
async fn a_subscription_that_is_dead_without_a_word_does_not_keep_members_of_one_node_apart() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.member("h").await, a.member("h").await);
    let mut eve = b.connect().await;
    ann.say("h", "0").await;
    a.backplane.lose_messages();
    eve.say("h", "1").await;
    ann.say("h", "2").await;
    assert_eq!(bob.texts(3).await, ["0", "1", "2"]);
}

#[tokio::test]
async fn many_who_ask_a_frozen_engine_wait_no_longer_than_one() {
    let (_memory, [a]) = Setup::hasty().nodes();
    a.groups.group("h").send_text("before").await.unwrap();
    a.backplane.freeze();
    let began = Instant::now();
    let asking: Vec<_> = (0..640)
        .map(|_| {
            let groups = a.groups.clone();
            tokio::spawn(async move { groups.group("h").history(None, 1).await.map(drop) })
        })
        .collect();
    for one in asking {
        one.await.unwrap().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_was_being_published_when_a_node_goes_is_published() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut bob = b.member("room").await;
    a.backplane.freeze();
    a.groups.group("room").send_text("last").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let engine = a.backplane.clone();
    drop(a);
    tokio::time::sleep(Duration::from_millis(50)).await;
    engine.heal();
    assert_eq!(bob.texts(1).await, ["last"]);
}
