//! Section E: authentication and isolation.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use nexios::auth::{Identity, secret_eq};
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{Asker, GroupAction, GroupError};
use serde_json::{Value, json};

use crate::harness::{Attack, Client, MIB, text};

/// Row 44. Nanoseconds of comparisons with a secret that is wrong in its first and in its last byte, mixed by chance.
fn times(secret: &[u8], tries: usize) -> [Vec<f64>; 2] {
    let wrong = [0, secret.len() - 1].map(|at| {
        let mut wrong = secret.to_vec();
        wrong[at] ^= 1;
        wrong
    });
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..2 * tries {
        let which = usize::from(fastrand::bool());
        let began = Instant::now();
        assert!(!black_box(secret_eq(black_box(secret), black_box(&wrong[which]))));
        times[which].push(began.elapsed().as_secs_f64() * 1e9);
    }
    times
}

/// Welch's t of two samples, of which the slowest tenth is left out: there the machine had other things to do.
fn welch(samples: [Vec<f64>; 2]) -> f64 {
    let [(n, mean, variance), (m, other_mean, other_variance)] = samples.map(|mut sample| {
        sample.sort_by(f64::total_cmp);
        sample.truncate(sample.len() * 9 / 10);
        let n = f64::from(u32::try_from(sample.len()).unwrap());
        let mean = sample.iter().sum::<f64>() / n;
        (n, mean, sample.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0))
    });
    (mean - other_mean) / (variance / n + other_variance / m).sqrt()
}

// Row 44: that no secret is compared with `==` is seen to by `Token`, which has no other comparison. What chance and a busy
// machine do to one measurement they do not do to three.
#[test]
fn the_time_of_a_comparison_does_not_tell_where_a_secret_is_wrong() {
    let secret: Vec<u8> = (0..4096).map(|_| fastrand::u8(..)).collect();
    times(&secret, 500);
    let tries = if cfg!(debug_assertions) { 2_000 } else { 20_000 };
    let found: Vec<f64> = (0..3).map(|_| welch(times(&secret, tries))).collect();
    assert!(found.iter().any(|t| t.abs() < 5.0), "{found:?}");
}

// Row 45: by expiry, and by an operator who takes a user's right away. Other nodes come with a backplane.
#[test]
fn a_socket_ends_with_its_token_and_with_its_users_right() {
    let attack =
        Attack::new("45", "50 sockets that outlive their tokens, 50 of a user who is revoked, all deaf to Close");
    attack.holds_at_most(2 * MIB).run(|victim| {
        let connect = |path: &str| {
            let mut client = Client::upgrade(victim.address, path);
            client.send(text("in"));
            assert_eq!(client.text(), "in");
            client
        };
        let mut operator = Client::upgrade(victim.address, "/operator");
        let mut bob: Vec<_> = (0..50).map(|_| connect("/user?name=bob")).collect();
        let mut alice = connect("/user?name=alice&for=60000");
        let first = Instant::now();
        let mut mallory: Vec<_> = (0..50).map(|_| connect("/user?name=mallory&for=3000")).collect();
        let last = Instant::now();
        operator.send(text("revoke bob"));
        assert_eq!(operator.text(), "50");
        for client in &mut bob {
            assert_eq!(client.close_code(), 4001);
            // It stays, and goes on talking.
            client.try_send(text("let me in"));
        }
        for client in &mut mallory {
            assert_eq!(client.close_code(), 3000);
            client.try_send(text("let me in"));
        }
        assert!(first.elapsed() >= Duration::from_secs(3), "closed after {:?}", first.elapsed());
        let closed = last.elapsed();
        assert!(closed < Duration::from_secs(4), "closed after {closed:?}");
        thread::sleep(Duration::from_millis(100));
        operator.send(text("heard"));
        assert_eq!(operator.text(), "101", "what they said behind their ends was heard");
        operator.send(text("revoke bob"));
        assert_eq!(operator.text(), "0");
        alice.send(text("still here"));
        assert_eq!(alice.text(), "still here");
        (
            format!("revoked: 4001 at once; expired tokens of 3 s: 3000 after {} ms", closed.as_millis()),
            (mallory, bob, alice),
        )
    });
}

/// Names that mean something elsewhere: patterns, paths, separators, one beginning with another.
const NAMES: [&str; 20] = [
    "a", "b", "ab", "a#b", "a b", "*", "a*", "a?", "?", "[a-z]", "..", "../a", ">", "a.>", "a.*", "a/b", "a:b", "a\0b",
    "A", "%61",
];

// Row 46: in one process. With a backplane it is to be tried once more.
#[test]
fn a_groups_name_is_a_name_and_no_pattern() {
    Attack::new("46", "groups called *, a*, a?, [a-z], .., >, a#b").run(|victim| {
        let mut members: Vec<_> = NAMES.iter().map(|_| Client::upgrade(victim.address, "/joins")).collect();
        for (name, member) in NAMES.iter().zip(&mut members) {
            member.send(text(&format!("+{name}")));
            member.send(text("#"));
            assert!(member.text().starts_with("1 0 "), "{name:?}");
        }
        let mut publisher = Client::upgrade(victim.address, "/tenants");
        for name in NAMES {
            publisher.send(text(name));
        }
        for (name, member) in NAMES.iter().zip(&mut members) {
            assert_eq!(member.text(), *name, "what another group was sent");
            member.send(text("#"));
            assert!(member.text().starts_with("1 0 "), "{name:?} was sent twice");
        }
        (format!("{} names, nothing crossed", NAMES.len()), (members, publisher))
    });
}

/// Nothing is allowed but what stands here: who, what, where.
const RIGHTS: [(&str, GroupAction, &str); 6] = [
    ("alice", GroupAction::Join, "red"),
    ("alice", GroupAction::Publish, "red"),
    ("alice", GroupAction::SeeHistory, "blue"),
    ("bob", GroupAction::Join, "blue"),
    ("bob", GroupAction::SeePresence, "red"),
    ("bob", GroupAction::Broadcast, ""),
];

struct Rights;

fn has(user: &str, action: GroupAction, group: &str) -> bool {
    RIGHTS.contains(&(user, action, group))
}

fn may(asker: &Asker, action: GroupAction, group: &str) -> bool {
    asker.get::<Identity>().is_some_and(|identity| has(identity.user(), action, group))
}

impl GroupPolicy for Rights {
    fn may_join(&self, asker: &Asker, group: &str) -> bool {
        may(asker, GroupAction::Join, group)
    }

    fn may_publish(&self, asker: &Asker, group: &str) -> bool {
        may(asker, GroupAction::Publish, group)
    }

    fn may_broadcast(&self, asker: &Asker) -> bool {
        may(asker, GroupAction::Broadcast, "")
    }

    fn may_see_presence(&self, asker: &Asker, group: &str) -> bool {
        may(asker, GroupAction::SeePresence, group)
    }

    fn may_see_history(&self, asker: &Asker, group: &str) -> bool {
        may(asker, GroupAction::SeeHistory, group)
    }
}

fn is_allowed<T>(result: nexios::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::Group(GroupError::Forbidden { .. })) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Tries every verb in every room as whoever it is told to be, and tells what went otherwise than it should.
async fn tries_everything(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let user = websocket.receive_text().await?;
        if !user.is_empty() {
            websocket.authenticate(Identity::new(user.as_str()))?;
        }
        let groups = websocket.groups();
        let mut wrong = Vec::new();
        for name in ["red", "blue", "none"] {
            let group = groups.group(name);
            let went = [
                (GroupAction::Join, is_allowed(group.join(&websocket).await)),
                (GroupAction::SeeHistory, is_allowed(group.history(None, 1).await)),
                (GroupAction::SeePresence, is_allowed(group.members().await)),
                (GroupAction::Publish, is_allowed(group.send_text("x").await)),
            ];
            let _ = group.leave(&websocket).await;
            wrong.extend(went.into_iter().filter(|(action, went)| *went != has(&user, *action, name)));
        }
        let broadcast = is_allowed(groups.broadcast("x").await);
        if broadcast != has(&user, GroupAction::Broadcast, "") {
            wrong.push((GroupAction::Broadcast, broadcast));
        }
        websocket.send_text(format!("wrong: {wrong:?}")).await?;
    }
}

// Row 47: users x rooms x verbs, with nothing allowed that is not listed; the right is asked for at each call, so that it
// changes with who is behind the connection. `it/policy.rs` has what each call needs.
#[tokio::test]
async fn every_verb_in_every_room_asks_for_a_right_of_its_own() {
    let each = GroupConfig::new().history(History::new());
    let groups = GroupsConfig::new().policy(Rights).each(each);
    let client = TestClient::new(App::new().groups_config(groups).websocket_route("/ws", tries_everything));
    let mut websocket = client.connect("/ws").await.unwrap();
    for user in ["", "alice", "bob", "mallory", "alice"] {
        websocket.send_text(user).await.unwrap();
        let answer = loop {
            let text = websocket.receive_text().await.unwrap();
            // What alice published to a group that she is in, and bob to all.
            if text != "x" {
                break text;
            }
        };
        assert_eq!(answer, "wrong: []", "{user:?}");
    }
}

// Row 47: on one socket, 100 questions whose answers come in the reverse order, between other messages.
#[tokio::test]
async fn a_hundred_answers_in_reverse_find_their_questions() {
    let app =
        App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let sender = websocket.sender();
            let asking = tokio::spawn(async move {
                let ask = |n: u64| {
                    let sender = sender.clone();
                    async move {
                        sender.request::<u64>(&n, Duration::from_secs(5)).await.is_ok_and(|answer| answer == n * 10)
                    }
                };
                futures_util::future::join_all((0..100).map(ask)).await.into_iter().filter(|right| *right).count()
            });
            let mut others = 0;
            while others < 100 {
                let text = websocket.receive_text().await?;
                assert_eq!(text, "something else");
                others += 1;
            }
            websocket.send_text(format!("{} right", asking.await.unwrap())).await
        });
    let mut websocket = TestClient::new(app).connect("/ws").await.unwrap();
    let mut questions = Vec::new();
    for _ in 0..100 {
        questions.push(websocket.receive_json::<Value>().await.unwrap());
    }
    for question in questions.iter().rev() {
        let data = question["data"].as_u64().unwrap() * 10;
        websocket.send_json(&json!({ "answer": question["request"], "data": data })).await.unwrap();
        websocket.send_text("something else").await.unwrap();
    }
    assert_eq!(websocket.receive_text().await.unwrap(), "100 right");
}
