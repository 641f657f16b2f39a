//! Who is there, on all nodes.

use std::time::Duration;

use nexios::ServerConfig;
use nexios::client::connect;
use nexios::prelude::*;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Client, Command, Setup, eventually};

fn join(user: &str, info: &str) -> Command {
    Command { join: Some("room".into()), user: Some(user.into()), info: Some(json!(info)), ..Command::default() }
}

fn watch() -> Command {
    Command { join: Some("room".into()), notices: true, ..Command::default() }
}

#[tokio::test]
async fn presence_and_counts_are_those_of_all_nodes() {
    let (_memory, [a, b, c]) = Setup::new().nodes();
    let (mut ann, mut bob) = (a.connect().await, b.connect().await);
    ann.join_with(join("ann", "Ann")).await;
    bob.join_with(join("bob", "Bob")).await;
    let _nobody = b.member("room").await;
    for node in [&a, &b, &c] {
        let room = node.groups.group("room");
        eventually("three connections", async || room.len().await.unwrap() == 3).await;
        let mut users: Vec<_> = room.presence().await.unwrap().into_iter().filter_map(|one| one.user).collect();
        users.sort();
        assert_eq!(users.iter().map(|user| &**user).collect::<Vec<_>>(), ["ann", "bob"]);
    }
    let present = a.groups.group("room").presence().await.unwrap();
    let bob = present.iter().find(|one| one.user.as_deref() == Some("bob")).unwrap();
    assert_eq!(bob.info::<String>().unwrap().as_deref(), Some("Bob"));
    assert_eq!((bob.connections.len(), bob.elsewhere.len()), (0, 1));
    assert_eq!(bob.elsewhere[0].node(), b.handle.backplane().unwrap().node);
}

#[tokio::test]
async fn who_comes_changes_and_goes_on_another_node_is_told() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut watcher = a.connect().await;
    watcher.join_with(watch()).await;
    let present = watcher.next().await;
    assert_eq!(present["event"], "present");
    let mut bob = b.connect().await;
    bob.join_with(join("bob", "Bob")).await;
    let notice = watcher.next().await;
    assert_eq!((&notice["event"], &notice["user"], &notice["info"]), (&json!("join"), &json!("bob"), &json!("Bob")));
    let mut again = b.connect().await;
    again.join_with(join("bob", "Robert")).await;
    let notice = watcher.next().await;
    assert_eq!((&notice["event"], &notice["info"]), (&json!("update"), &json!("Robert")));
    for client in [&mut bob, &mut again] {
        client.command(Command { leave: Some("room".into()), ..Command::default() }).await;
    }
    let notice = watcher.next().await;
    assert_eq!((&notice["event"], &notice["user"]), (&json!("leave"), &json!("bob")));
    watcher.silence().await;
}

#[tokio::test]
async fn a_user_on_two_nodes_comes_once_and_goes_once() {
    let (_memory, [a, b, c]) = Setup::new().nodes();
    let mut watcher = a.connect().await;
    watcher.join_with(watch()).await;
    watcher.next().await;
    let (mut here, mut there) = (b.connect().await, c.connect().await);
    here.join_with(join("bob", "Bob")).await;
    assert_eq!(watcher.next().await["event"], "join");
    there.join_with(join("bob", "Bob")).await;
    watcher.silence().await;
    here.command(Command { leave: Some("room".into()), ..Command::default() }).await;
    watcher.silence().await;
    there.command(Command { leave: Some("room".into()), ..Command::default() }).await;
    assert_eq!(watcher.next().await["event"], "leave");
}

#[tokio::test]
async fn a_node_that_is_not_heard_of_takes_its_members_with_it() {
    let (_memory, [a, b]) = Setup::new().nodes();
    let mut watcher = a.connect().await;
    watcher.join_with(watch()).await;
    watcher.next().await;
    let mut bob = b.connect().await;
    bob.join_with(join("bob", "Bob")).await;
    assert_eq!(watcher.next().await["event"], "join");
    b.backplane.cut();
    let notice = watcher.next().await;
    assert_eq!((&notice["event"], &notice["user"]), (&json!("leave"), &json!("bob")));
    assert_eq!(a.groups.group("room").len().await.unwrap(), 1);
    // It was not gone: what it told is told again.
    b.backplane.heal();
    let notice = watcher.next().await;
    assert_eq!((&notice["event"], &notice["user"]), (&json!("join"), &json!("bob")));
    eventually("both are there", async || a.groups.group("room").len().await.unwrap() == 2).await;
}

#[tokio::test]
async fn a_node_that_goes_says_so() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().node_ttl(Duration::from_mins(1)), ..setup };
    let (_memory, [a, b]) = setup.nodes();
    let _ann = a.member("room").await;
    let mut bob = b.connect().await;
    bob.join_with(join("bob", "Bob")).await;
    eventually("both are there", async || a.groups.group("room").len().await.unwrap() == 2).await;
    drop((bob, b));
    eventually("one is there", async || a.groups.group("room").len().await.unwrap() == 1).await;
    eventually("no other node", async || a.handle.backplane().unwrap().nodes == 0).await;
}

#[tokio::test]
async fn who_moves_from_a_node_that_shuts_down_to_another_was_never_gone() {
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().node_ttl(Duration::from_secs(2)), ..setup };
    let (memory, [a]) = setup.nodes();
    let mut watcher = a.connect().await;
    watcher.join_with(watch()).await;
    watcher.next().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let app = setup.app(&memory.node()).server_config(ServerConfig::new().reconnect_within(Duration::from_millis(500)));
    let handle = app.handle();
    let serving = tokio::spawn(app.serve(listener));
    let new = async || Client::new(connect(&url).await.unwrap());
    let (mut moves, mut stays_away) = (new().await, new().await);
    for (client, user) in [(&mut moves, "moves"), (&mut stays_away, "stays away")] {
        client.join_with(join(user, user)).await;
        assert_eq!(watcher.next().await["user"], user);
    }
    handle.shutdown();
    drop((moves, stays_away));
    serving.await.unwrap().unwrap();
    let mut again = a.connect().await;
    again.join_with(join("moves", "moves")).await;
    let notice = watcher.next().await;
    assert_eq!((&notice["event"], &notice["user"]), (&json!("leave"), &json!("stays away")), "{notice}");
    watcher.silence().await;
}

#[tokio::test]
async fn who_is_lost_as_soon_as_it_has_come_is_no_ghost_elsewhere() {
    let setup = Setup::new();
    let config = || GroupConfig::new().grace(Duration::from_millis(100));
    let groups = GroupsConfig::new().by_name(move |_| Some(config()));
    let (_memory, [a, b]) = Setup { groups, ..setup }.nodes();
    let mut bob = b.connect().await;
    bob.join_with(join("bob", "Bob")).await;
    let users = async || b.groups.group("room").presence().await.unwrap().len();
    for name in ["ann", "abe", "ada", "amy"] {
        let mut client = a.connect().await;
        client.join_with(join(name, name)).await;
        drop(client);
        eventually("its node has told of it", async || a.groups.group("room").members().await.unwrap().is_empty())
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        eventually("it is gone", async || users().await == 1).await;
    }
}
