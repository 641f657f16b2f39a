//! Groups that are one on all nodes.

use std::time::Duration;

use nexios::backplane::Memory;
use nexios::prelude::*;

use super::{Command, Setup, eventually, is_gap, text_of};

#[tokio::test]
async fn a_message_reaches_the_members_of_all_nodes_once() {
    let (_memory, [a, b, c]) = Setup::new().nodes();
    let (mut ann, mut bob, mut cid) = (a.member("room").await, b.member("room").await, c.member("room").await);
    let mut eve = c.member("elsewhere").await;
    assert_eq!(ann.say("room", "hello").await, ["hello"], "members of the same node get it at once");
    assert_eq!(bob.texts(1).await, ["hello"]);
    assert_eq!(cid.texts(1).await, ["hello"]);
    for client in [&mut ann, &mut bob, &mut cid, &mut eve] {
        client.silence().await;
    }
}

#[tokio::test]
async fn a_message_to_a_group_without_members_here_goes_where_they_are() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut bob = b.member("room").await;
    a.groups.group("room").send_text("from an HTTP handler").await.unwrap();
    assert_eq!(bob.texts(1).await, ["from an HTTP handler"]);
}

#[tokio::test]
async fn each_publishers_messages_keep_their_order() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut bob = b.member("room").await;
    let mut ann = a.connect().await;
    for number in 0..200 {
        ann.say("room", &number.to_string()).await;
    }
    let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(bob.texts(200).await, expected);
}

#[tokio::test]
async fn with_a_history_all_nodes_have_one_order_and_one_position_for_each_message() {
    let (_memory, [a, b, c]) = Setup::new().nodes();
    let mut members = [a.member("h").await, b.member("h").await, c.member("h").await];
    let mut speakers = [a.connect().await, b.connect().await, c.connect().await];
    for number in 0..30 {
        for (speaker, name) in speakers.iter_mut().zip(["a", "b", "c"]) {
            let say = Some(format!("{name}{number}"));
            speaker.command(Command { to: vec!["h".into()], say, ..Command::default() }).await;
        }
    }
    let mut seen = Vec::new();
    for member in &mut members {
        let mut messages = Vec::new();
        for _ in 0..90 {
            messages.push(member.next().await);
        }
        seen.push(messages);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    for name in ["a", "b", "c"] {
        let own: Vec<_> = seen[0].iter().filter_map(text_of).filter(|text| text.starts_with(name)).collect();
        let expected: Vec<_> = (0..30).map(|number| format!("{name}{number}")).collect();
        assert_eq!(own, expected);
    }
}

#[tokio::test]
async fn a_client_recovers_on_another_node() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut ann = a.member("h").await;
    ann.say("h", "one").await;
    let position = ann.say("h", "two").await[0]["position"].as_str().unwrap().parse().ok();
    drop(ann);
    let mut bob = b.connect().await;
    bob.say("h", "three").await;
    bob.say("h", "four").await;
    let joined = bob.join_with(Command { join: Some("h".into()), since: position, ..Command::default() }).await;
    assert_eq!((&joined["recovered"], &joined["replayed"]), (&true.into(), &2.into()), "{joined}");
    assert_eq!(bob.texts(2).await, ["three", "four"]);
    bob.say("h", "five").await;
}

#[tokio::test]
async fn what_is_no_longer_kept_anywhere_is_told() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut ann = a.member("h").await;
    let position = ann.say("h", "first").await[0]["position"].as_str().unwrap().parse().ok();
    for number in 0..60 {
        ann.say("h", &number.to_string()).await;
    }
    let mut bob = b.connect().await;
    let joined = bob.join_with(Command { join: Some("h".into()), since: position, ..Command::default() }).await;
    assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"trimmed".into()), "{joined}");
}

#[tokio::test]
async fn the_history_is_the_same_on_every_node() {
    let (_memory, [a, b]) = Setup::new().nodes();
    for number in 0..5 {
        a.groups.group("h").send_text(number.to_string()).await.unwrap();
    }
    for node in [&a, &b] {
        let page = node.groups.group("h").history(None, 3).await.unwrap();
        let texts: Vec<_> = page.publications.iter().map(|one| one.message.as_text().unwrap().to_owned()).collect();
        assert_eq!(texts, ["2", "3", "4"]);
        let first = page.publications[0].position;
        let rest = node.groups.group("h").history(first, 10).await.unwrap();
        assert!(rest.recovered);
        assert_eq!(rest.publications.len(), 2);
    }
    assert!(a.groups.group("plain").history(None, 3).await.is_err());
}

#[tokio::test]
async fn the_one_who_says_it_is_left_out_on_its_node_and_nobody_else_is() {
    let (_memory, [a, b]) = Setup::new().nodes();
    for group in ["room", "h"] {
        let (mut ann, mut bob) = (a.member(group).await, b.member(group).await);
        // A connection of another node may have the same number.
        let mut ann2 = a.member(group).await;
        let command = Command { to: vec![group.into()], say: Some("psst".into()), others: true, ..Command::default() };
        ann.command(command).await;
        assert_eq!(bob.texts(1).await, ["psst"]);
        assert_eq!(ann2.texts(1).await, ["psst"]);
        assert!(ann.next().await.get("said").is_some());
        ann.silence().await;
    }
}

#[tokio::test]
async fn who_is_in_several_of_the_groups_gets_a_message_once() {
    let (_memory, [a, b]) = Setup::new().nodes();
    for names in [["p1", "p2"], ["h1", "h2"], ["h3", "p3"]] {
        let mut both = b.connect().await;
        both.join(names[0]).await;
        both.join(names[1]).await;
        let mut one = b.member(names[1]).await;
        a.groups.send_to(names, "to both").await.unwrap();
        assert_eq!(one.texts(1).await, ["to both"], "{names:?}");
        assert_eq!(both.texts(1).await, ["to both"], "{names:?}");
        both.silence().await;
    }
}

#[tokio::test]
async fn odd_names_stay_apart() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let long = "ß".repeat(100);
    let names = ["*", "[a-z]", ">", ".", "a b", "a.b", "\0\n", "=2a", "all", &long];
    for name in names {
        let mut member = b.member(name).await;
        for other in names {
            a.groups.group(other).send_text(other).await.unwrap();
        }
        assert_eq!(member.texts(1).await, [name]);
        member.silence().await;
    }
}

#[tokio::test]
async fn a_group_without_members_here_is_not_listened_to() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let ann = a.member("room").await;
    let mut bob = b.member("room").await;
    drop(ann);
    eventually("the group is gone", async || a.groups.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = a.handle.backplane().unwrap().received;
    for _ in 0..50 {
        bob.say("room", "to myself").await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let received = a.handle.backplane().unwrap().received - before;
    assert!(received < 10, "{received} messages of a group that nobody is in");
}

#[tokio::test]
async fn a_group_that_is_silent_for_longer_than_its_history_lasts_has_no_gap() {
    let setup = Setup::new();
    let history = || GroupConfig::new().history(History::new().age(Duration::from_millis(600)).with_positions());
    let groups = setup.groups.clone().by_name(move |name| name.starts_with('h').then(history));
    let (_memory, [a, b]) = Setup { groups, ..setup }.nodes();
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    let before = ann.say("h", "before").await;
    bob.texts(1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let after = ann.say("h", "after").await;
    assert_eq!(bob.texts(1).await, ["after"], "nobody is told of a gap");
    let epoch = |messages: &[serde_json::Value]| messages[0]["position"].as_str().unwrap()[..16].to_owned();
    assert_eq!(epoch(&before), epoch(&after));
}

#[tokio::test]
async fn a_message_that_one_of_several_groups_cannot_send_goes_to_none() {
    let (_memory, [a]) = Setup::new().nodes();
    let mut ann = a.member("a").await;
    let sent = a.groups.send_to(["a", "h"], Message::Binary(vec![1].into())).await;
    assert!(sent.is_err());
    ann.silence().await;
}

#[tokio::test]
async fn nodes_that_disagree_about_a_history_lose_nothing_silently() {
    let memory = Memory::new();
    let a = Setup::new().node(&memory);
    let b = Setup { groups: GroupsConfig::new(), ..Setup::new() }.node(&memory);
    let (mut ann, mut bob) = (a.member("h").await, b.member("h").await);
    ann.say("h", "kept").await;
    assert_eq!(bob.texts(1).await, ["kept"], "without a position");
    bob.say("h", "not kept").await;
    assert!(is_gap(&ann.next().await), "it has no place in her stream");
    ann.say("h", "after").await;
    assert_eq!(bob.texts(1).await, ["after"]);
}

#[tokio::test]
async fn what_is_published_before_the_app_is_built_is_the_engines() {
    let memory = Memory::new();
    let backplane = memory.node();
    let app = Setup::new().app(&backplane);
    let groups = app.groups();
    groups.group("h").send_text("early").await.unwrap();
    groups.group("h").send_json(&["early", "too"]).await.unwrap();
    let client = nexios::testing::TestClient::new(app);
    let mut ann = super::Client::new(client.connect("/").await.unwrap());
    let mut bob = super::Client::new(client.connect("/").await.unwrap());
    ann.join("h").await;
    bob.join("h").await;
    ann.say("h", "late").await;
    assert_eq!(bob.texts(1).await, ["late"]);
    let other = Setup::new().node(&memory);
    let page = other.groups.group("h").history(None, 10).await.unwrap();
    let texts: Vec<_> = page.publications.iter().filter_map(|one| one.message.as_text()).collect();
    assert_eq!(texts, ["early", r#"["early","too"]"#, "late"]);
}

#[tokio::test]
async fn who_is_in_several_groups_gets_a_message_to_all_of_them_once() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut ann = a.connect().await;
    let (mut both, mut one) = (b.member("x").await, b.member("y").await);
    both.join("y").await;
    for number in 0..10 {
        let to = ["x", "y", "nobody is here"].map(str::to_owned).to_vec();
        ann.command(Command { to, say: Some(number.to_string()), ..Command::default() }).await;
    }
    let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(both.texts(10).await, expected);
    assert_eq!(one.texts(10).await, expected);
    both.silence().await;
}

#[tokio::test]
async fn a_message_goes_to_thousands_of_groups_or_to_none() {
    let setup = Setup::new();
    let (_memory, [a, b]) = setup.nodes();
    let mut bob = b.member("h1999").await;
    let names: Vec<_> = (0..2000).map(|number| format!("h{number}")).collect();
    a.groups.send_to(&names, "to all of them").await.unwrap();
    assert_eq!(bob.texts(1).await, ["to all of them"]);

    let small = Setup { backplane: setup.backplane.clone().outbox(100_000), ..setup };
    let (_memory, [a, b]) = small.nodes();
    let mut bob = b.member("h0").await;
    let error = a.groups.send_to(&names, "to nobody").await.unwrap_err();
    assert!(matches!(error, Error::Backplane(nexios::backplane::BackplaneError::OutboxFull { .. })), "{error}");
    bob.silence().await;
}
