//! Groups: who is in them, in which order they hear, and whom a silent member delays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{GroupError, WebSocketDisconnect};
use tokio::sync::mpsc;

use crate::outcome::{code, ending};
use crate::serving::{Running, pause, pipe, serve, within};
use crate::wire::{Wire, close, text};

const MIB: usize = 1024 * 1024;

/// Joins the room of the path; what a member says goes to all, `/others …` to all but itself, `/leave` leaves.
async fn chat(mut websocket: WebSocket, Path(room): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let room = groups.group(&room);
    room.join(&websocket).await?;
    websocket.send_text("joined").await?;
    loop {
        let text = websocket.receive_text().await?;
        match text.split_once(' ') {
            Some(("/others", rest)) => room.send_text_except(&websocket, rest).await?,
            _ if text == "/leave" => room.leave(&websocket).await?,
            _ if text == "/panic" => panic!("as asked"),
            _ if text == "/error" => return Err(Error::other("as asked")),
            _ if text == "/return" => return Ok(()),
            _ => room.send_text(text).await?,
        }
    }
}

fn app() -> App {
    App::new().websocket_route("/rooms/{room}", chat)
}

async fn join(client: &TestClient, room: &str) -> WebSocket {
    let mut websocket = client.connect(&format!("/rooms/{room}")).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "joined");
    websocket
}

async fn join_raw(server: &Running, room: &str) -> Wire {
    let mut wire = server.upgrade(&format!("/rooms/{room}")).await;
    assert_eq!(wire.text().await, "joined");
    wire
}

async fn wait_for_members(group: &Group, wanted: usize) {
    for _ in 0..300 {
        if group.len().await.unwrap() == wanted {
            return;
        }
        pause(10).await;
    }
    panic!("{} members instead of {wanted}", group.len().await.unwrap());
}

#[tokio::test]
async fn a_message_goes_to_every_member_and_to_nobody_else() {
    let client = TestClient::new(app());
    let (mut a, mut b) = (join(&client, "red").await, join(&client, "red").await);
    let mut c = join(&client, "blue").await;
    a.send_text("hello red").await.unwrap();
    assert_eq!(a.receive_text().await.unwrap(), "hello red");
    assert_eq!(b.receive_text().await.unwrap(), "hello red");
    c.send_text("hello blue").await.unwrap();
    assert_eq!(c.receive_text().await.unwrap(), "hello blue");
}

#[tokio::test]
async fn except_leaves_out_one_member() {
    let client = TestClient::new(app());
    let (mut a, mut b) = (join(&client, "red").await, join(&client, "red").await);
    a.send_text("/others psst").await.unwrap();
    assert_eq!(b.receive_text().await.unwrap(), "psst");
    b.send_text("for all").await.unwrap();
    assert_eq!(a.receive_text().await.unwrap(), "for all", "the sender heard itself");
}

#[tokio::test]
async fn a_group_sends_every_type_of_message_also_from_outside() {
    let app = app();
    let group = app.groups().group("red");
    let client = TestClient::new(app);
    let mut websocket = join(&client, "red").await;
    group.send_text("text").await.unwrap();
    group.send_bytes(vec![1; 10_000]).await.unwrap();
    group.send_json(&[1, 2]).await.unwrap();
    group.send("message").await.unwrap();
    for expected in [Message::from("text"), vec![1; 10_000].into(), "[1,2]".into(), "message".into()] {
        assert_eq!(websocket.receive().await.unwrap(), expected);
    }
    let members = group.members().await.unwrap();
    assert_eq!(members.len(), 1);
    members[0].send_text("to you alone").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "to you alone");
}

#[tokio::test]
async fn every_except_variant_leaves_out_the_one() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        let group = websocket.groups().group("g");
        group.join(&websocket).await?;
        if websocket.query_params().get("talk").is_some() {
            group.send_text_except(&websocket, "text").await?;
            group.send_bytes_except(&websocket, vec![1]).await?;
            group.send_json_except(&websocket, &1).await?;
            group.send_except(&websocket, "message").await?;
            websocket.send_text("only this").await?;
        } else {
            websocket.send_text("joined").await?;
        }
        websocket.receive().await.map(|_| ())
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler));
    let mut listener = client.connect("/ws").await.unwrap();
    assert_eq!(listener.receive_text().await.unwrap(), "joined");
    let mut talker = client.connect("/ws?talk").await.unwrap();
    assert_eq!(talker.receive_text().await.unwrap(), "only this");
    for expected in [Message::from("text"), vec![1].into(), "1".into(), "message".into()] {
        assert_eq!(listener.receive().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn joining_twice_is_joining_once_and_leaving_is_leaving() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        let group = websocket.groups().group("g");
        assert_eq!((group.len().await?, group.is_empty().await?), (0, true));
        group.leave(&websocket).await?;
        group.join(&websocket).await?;
        group.join(&websocket).await?;
        assert_eq!((group.len().await?, websocket.groups().len()), (1, 1));
        group.send_text("once").await?;
        group.leave(&websocket).await?;
        assert_eq!((group.len().await?, websocket.groups().len()), (0, 0));
        group.send_text("to nobody").await?;
        group.join(&websocket).await?;
        group.send_text("back again").await
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "once");
    assert_eq!(websocket.receive_text().await.unwrap(), "back again");
    assert_eq!(code(websocket.receive().await), 1000);
}

#[tokio::test]
async fn all_members_hear_all_messages_in_one_order() {
    let client = TestClient::new(app());
    let mut members = Vec::new();
    for _ in 0..8 {
        members.push(join(&client, "red").await);
    }
    for i in 0..200 {
        members[i % 8].send_text(format!("{i}")).await.unwrap();
        if i % 20 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        for _ in 0..200 {
            order.push(within(member.receive_json::<u32>()).await.unwrap());
        }
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "members heard different orders");
    for speaker in 0..8 {
        let own: Vec<_> = orders[0].iter().filter(|i| **i % 8 == speaker).collect();
        assert!(own.is_sorted(), "one speaker's messages were turned round: {own:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_several_threads_there_is_still_one_order() {
    let server = serve(app()).await;
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(join_raw(&server, "red").await);
    }
    let mut speakers = Vec::new();
    for speaker in 0..4 {
        let mut websocket = nexios::client::connect(server.url("/rooms/red")).await.unwrap();
        speakers.push(tokio::spawn(async move {
            for i in 0..100 {
                websocket.send_text(format!("{speaker}.{i}")).await.unwrap();
            }
            // Read along, or the speaker would be a slow consumer itself.
            while websocket.receive().await.is_ok() {}
        }));
    }
    let mut orders = Vec::new();
    for listener in &mut listeners {
        let mut order = Vec::new();
        for _ in 0..400 {
            order.push(listener.text().await);
        }
        orders.push(order);
    }
    assert!(orders[1..].iter().all(|order| *order == orders[0]), "members heard different orders");
    server.handle.shutdown();
}

#[tokio::test]
async fn a_member_leaves_however_its_connection_ends() {
    let app = app();
    let groups = app.groups();
    let group = groups.group("red");
    let server = serve(app).await;
    for ending in ["/return", "/error", "/panic", "close", "protocol error", "end of file", "reset"] {
        let mut wire = join_raw(&server, "red").await;
        assert_eq!(group.len().await.unwrap(), 1, "{ending}");
        match ending {
            "close" => wire.send(close(1000, "")).await,
            "protocol error" => wire.send([0xFF, 0xFF]).await,
            "end of file" => drop(wire),
            "reset" => wire.abort(),
            command => wire.send(text(command)).await,
        }
        wait_for_members(&group, 0).await;
        assert!(groups.is_empty(), "{ending}");
    }
    let _member = join_raw(&server, "red").await;
    server.handle.shutdown();
    wait_for_members(&group, 0).await;
}

#[tokio::test]
async fn a_member_leaves_when_its_websocket_is_dropped_or_its_close_begins() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let handler = async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        let group = websocket.groups().group("g");
        group.join(&websocket).await?;
        let drops = websocket.query_params().get("drop").is_some();
        let sender = websocket.sender();
        if drops {
            drop(websocket);
        } else {
            sender.close(4000, "").await?;
        }
        pause(20).await;
        seen.send(group.len().await?).unwrap();
        Ok(())
    };
    let (mut wire, _) = pipe(App::new().websocket_route("/ws", handler.clone()));
    wire.handshake("/ws?drop").await;
    assert_eq!(within(see.recv()).await.unwrap(), 0);
    let (mut wire, _) = pipe(App::new().websocket_route("/ws", handler));
    wire.handshake("/ws").await;
    assert_eq!(within(see.recv()).await.unwrap(), 0);
}

#[tokio::test]
async fn joining_after_the_end_is_an_error_and_leaves_no_ghost() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let app = App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        websocket.receive().await.unwrap_err();
        seen.send(ending(websocket.groups().group("g").join(&websocket).await)).unwrap();
        Ok(())
    });
    let groups = app.groups();
    let mut websocket = TestClient::new(app).connect("/ws").await.unwrap();
    websocket.close(1000, "").await.unwrap();
    let end: WebSocketDisconnect = within(see.recv()).await.unwrap();
    assert_eq!(end.code(), CloseCode::NORMAL);
    assert!(groups.is_empty());
}

#[tokio::test]
async fn names_are_any_text_of_1_to_200_bytes_and_never_interpreted() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        for name in ["*", "a*", "a?", "[a-z]", "..", "a.b", "a#b", ">", " ", "\0", "ü", &"x".repeat(200)] {
            let group = websocket.groups().group(name);
            assert_eq!(group.len().await?, 0, "{name:?} has somebody else's members");
            group.join(&websocket).await?;
            assert_eq!(group.name(), name);
            assert_eq!(group.len().await?, 1);
        }
        for name in [String::new(), "x".repeat(201)] {
            let group = websocket.groups().group(&name);
            let error = group.join(&websocket).await.unwrap_err();
            assert!(matches!(error, Error::Group(GroupError::InvalidName { .. })), "{error}");
            assert!(group.send_text("x").await.is_err() && group.len().await.is_err());
        }
        websocket.send_text("done").await
    }
    let mut websocket = TestClient::new(App::new().websocket_route("/ws", handler)).connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "done");
}

#[tokio::test]
async fn a_connection_can_be_in_so_many_groups_and_no_more() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        let groups = websocket.groups();
        for i in 0..128 {
            groups.group(format!("{i}")).join(&websocket).await?;
        }
        let error = groups.group("one more").join(&websocket).await.unwrap_err();
        assert!(matches!(error, Error::Group(GroupError::TooManyGroups { .. })), "{error}");
        assert_eq!(groups.len(), 128);
        groups.group("7").leave(&websocket).await?;
        groups.group("one more").join(&websocket).await?;
        websocket.send_text("done").await
    }
    let app = App::new().websocket_route("/ws", handler);
    let groups = app.groups();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(within(websocket.receive_text()).await.unwrap(), "done");
    websocket.receive().await.unwrap_err();
    crate::serving::wait_for_connections(&client.handle(), 0).await;
    assert!(groups.is_empty());
}

#[tokio::test]
async fn a_member_that_does_not_read_is_closed_and_the_other_50_get_everything_without_delay() {
    let app = app();
    let group = app.groups().group("red");
    let (seen, mut see) = mpsc::unbounded_channel();
    let app = app.websocket_route("/stalled", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        websocket.groups().group("red").join(&websocket).await?;
        websocket.send_text("joined").await?;
        seen.send(ending(websocket.receive().await)).unwrap();
        Ok(())
    });
    // It would hold its queue for the 5 s of the closing deadline.
    let server = serve(app.config(Config::new().close_timeout(Duration::from_millis(200)))).await;
    let mut stalled = server.upgrade("/stalled").await;
    stalled.text().await;
    let received = Arc::new(AtomicUsize::new(0));
    let mut readers = Vec::new();
    for _ in 0..50 {
        let mut wire = join_raw(&server, "red").await;
        let received = Arc::clone(&received);
        readers.push(tokio::spawn(async move {
            for i in 0..200_u32 {
                let frame = wire.frame().await.expect("a member that reads was closed");
                assert_eq!(frame.payload[..4], i.to_be_bytes());
                received.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    assert_eq!(group.len().await.unwrap(), 51);
    let mut slowest = Duration::ZERO;
    for i in 0..200_u32 {
        let mut message = vec![0; 64 * 1024];
        message[..4].copy_from_slice(&i.to_be_bytes());
        let began = Instant::now();
        group.send_bytes(message).await.unwrap();
        slowest = slowest.max(began.elapsed());
        // A member that reads is not a slow consumer: the publisher's own pace, not the members'.
        pause(2).await;
    }
    for reader in readers {
        tokio::time::timeout(Duration::from_secs(10), reader).await.unwrap().unwrap();
    }
    assert_eq!(received.load(Ordering::Relaxed), 50 * 200);
    assert!(slowest < Duration::from_millis(500), "a publish took {slowest:?}");
    // 12.8 MB were published: the kernel's buffers and 1 MiB are full long before.
    wait_for_members(&group, 0).await;
    let end = within(see.recv()).await.unwrap();
    assert_eq!((end.cause(), u16::from(end.code()), end.ended_by()), (Cause::SlowConsumer, 4430, EndedBy::Local));
}

#[tokio::test]
async fn a_member_that_does_not_read_holds_at_most_1_mib() {
    let app = app();
    let group = app.groups().group("red");
    let (mut wire, _) = pipe(app);
    wire.handshake("/rooms/red").await;
    assert_eq!(wire.text().await, "joined");
    let mut taken = 0;
    while group.len().await.unwrap() == 1 && taken < 10 * MIB {
        group.send_bytes(vec![0; 16 * 1024]).await.unwrap();
        taken += 16 * 1024;
    }
    // The queue, and 256 KiB of the pipe.
    assert!((MIB..=MIB + 300 * 1024).contains(&taken), "{taken} bytes went to a member that does not read");
}

#[tokio::test]
async fn a_dead_member_delays_nobody() {
    let app = app();
    let group = app.groups().group("red");
    let server = serve(app).await;
    let mut alive = join_raw(&server, "red").await;
    join_raw(&server, "red").await.abort();
    let began = Instant::now();
    for i in 0..100 {
        group.send_text(i.to_string()).await.unwrap();
        assert_eq!(alive.text().await, i.to_string());
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    wait_for_members(&group, 1).await;
}

#[tokio::test]
async fn a_message_to_many_is_one_write_for_each_of_a_tick() {
    let app = app();
    let group = app.groups().group("red");
    let (mut wire, writes) = pipe(app);
    wire.handshake("/rooms/red").await;
    assert_eq!(wire.text().await, "joined");
    let before = writes.load(Ordering::Relaxed);
    for i in 0..20 {
        group.send_text(i.to_string()).await.unwrap();
    }
    for i in 0..20 {
        assert_eq!(wire.text().await, i.to_string());
    }
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_leaves_ends_and_messages_at_once_leave_nothing_behind() {
    let app = app();
    let groups = app.groups();
    let server = serve(app).await;
    let talker = {
        let group = groups.group("red");
        tokio::spawn(async move {
            loop {
                group.send_text("noise").await.unwrap();
                pause(1).await;
            }
        })
    };
    let mut tasks = Vec::new();
    for worker in 0..4_usize {
        let url = server.url("/rooms/red");
        let address = server.address;
        tasks.push(tokio::spawn(async move {
            for i in 0..25 {
                match (worker + i) % 3 {
                    0 => Wire::upgrade(address, "/rooms/red").await.abort(),
                    1 => drop(nexios::client::connect(&url).await.unwrap()),
                    _ => {
                        let mut websocket = nexios::client::connect(&url).await.unwrap();
                        websocket.send_text("/leave").await.unwrap();
                        websocket.send_text("/error").await.unwrap();
                        while websocket.receive().await.is_ok() {}
                    }
                }
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
    }
    server.wait_for_connections(0).await;
    talker.abort();
    assert!(groups.is_empty(), "{} groups are left", groups.len());
}

/// What a handler's own calls came to: it sends `done` unless one of its assertions fails.
async fn is_done(app: App) {
    let mut websocket = TestClient::new(app).connect("/").await.unwrap();
    assert_eq!(within(websocket.receive_text()).await.unwrap(), "done");
}

#[tokio::test]
async fn the_length_of_names_is_a_setting_and_counts_bytes() {
    async fn handler(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        for name in ["x", "1234567890", "üüüüü", "🦀🦀", "\"q\" '<>'", "\r\n\t\0\u{7f}"] {
            groups.group(name).join(&websocket).await?;
            assert_eq!(groups.group(name).len().await?, 1, "{name:?}");
        }
        for (name, len) in [("", 0), ("12345678901", 11), ("üüüüüü", 12), ("🦀🦀🦀", 12)] {
            let group = groups.group(name);
            let invalid = GroupError::InvalidName { len, limit: 10 };
            assert_eq!(invalid.to_string(), format!("a group's name has 1 to 10 bytes, not {len}"));
            let is_refused = |error: Error| matches!(error, Error::Group(error) if error == invalid);
            assert!(is_refused(group.join(&websocket).await.unwrap_err()), "{name:?}");
            assert!(is_refused(group.leave(&websocket).await.unwrap_err()), "{name:?}");
            assert!(is_refused(group.send_text("x").await.unwrap_err()), "{name:?}");
            assert!(is_refused(group.presence().await.unwrap_err()), "{name:?}");
            assert!(is_refused(group.history(None, 1).await.unwrap_err()), "{name:?}");
            assert!(is_refused(group.stats().await.unwrap_err()), "{name:?}");
            assert!(is_refused(groups.send_to(["x", name], "x").await.unwrap_err()), "{name:?}");
        }
        assert_eq!(groups.stats().publications, 0, "not even to the good one of two names");
        websocket.send_text("done").await
    }
    let app = App::new().groups_config(GroupsConfig::new().name_len(10));
    is_done(app.websocket_route("/", handler)).await;
}

#[tokio::test]
async fn how_many_groups_a_connection_may_be_in_is_a_setting_of_its_route() {
    async fn handler(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        for _ in 0..3 {
            // Who is in it already takes no place more.
            groups.group("a").join(&websocket).await?;
        }
        groups.group("b").join(&websocket).await?;
        groups.group("a").join(&websocket).await?;
        for _ in 0..3 {
            let error = groups.group("c").join(&websocket).await.unwrap_err();
            let expected = GroupError::TooManyGroups { limit: Limit::At(2) };
            assert!(matches!(error, Error::Group(error) if error == expected));
            assert_eq!((groups.len(), groups.stats().members), (2, 2));
        }
        groups.group("b").leave(&websocket).await?;
        groups.group("c").join(&websocket).await?;
        websocket.send_text("done").await
    }
    let route = WebSocketRoute::new("/", handler).config(Config::new().groups_per_connection(2));
    is_done(App::new().add_ws_route(route)).await;
}

#[tokio::test]
async fn without_a_limit_a_connection_may_be_in_any_number_of_groups() {
    async fn handler(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        for i in 0..2_000 {
            groups.group(format!("{i}")).join(&websocket).await?;
        }
        websocket.send_text("done").await
    }
    let app = App::new().config(Config::new().groups_per_connection(Limit::Unlimited));
    is_done(app.websocket_route("/", handler)).await;
}

#[tokio::test]
async fn a_groups_settings_are_chosen_by_its_name_or_are_those_of_all() {
    let keeps = |messages| GroupConfig::new().history(History::new().messages(messages));
    let config = GroupsConfig::new().each(keeps(2)).by_name(move |name| match name {
        "three" => Some(keeps(3)),
        "none" => Some(GroupConfig::new()),
        _ => None,
    });
    let groups = App::new().groups_config(config).groups();
    for (name, kept) in [("three", Some(3)), ("any other", Some(2)), ("none", None), ("Three", Some(2))] {
        let group = groups.group(name);
        for i in 0..10 {
            group.send_text(i.to_string()).await.unwrap();
        }
        match (group.history(None, 100).await, kept) {
            (Ok(page), Some(kept)) => assert_eq!(page.publications.len(), kept, "{name}"),
            (Err(Error::Group(error)), None) => assert_eq!(error, GroupError::NoHistory, "{name}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
#[should_panic(expected = "groups_config comes before the first call of groups()")]
fn settings_that_come_too_late_are_not_swallowed() {
    let app = App::new();
    let _groups = app.groups();
    let _ = app.groups_config(GroupsConfig::new());
}

#[test]
fn settings_may_come_in_any_order_before_anybody_was_given_the_groups() {
    let app = App::new().groups_config(GroupsConfig::new()).websocket_route("/rooms/{room}", chat);
    drop(app.handle());
    let app = app.groups_config(GroupsConfig::new().name_len(1));
    assert!(app.groups().is_empty());
}

#[tokio::test]
async fn a_clients_own_connection_belongs_to_no_app_and_joins_nothing() {
    let app = app();
    let groups = app.groups();
    let client = TestClient::new(app);
    let websocket = join(&client, "red").await;
    let own = websocket.groups();
    assert!(own.is_empty());
    for groups in [own, groups.clone()] {
        let error = groups.group("g").join(&websocket).await.unwrap_err();
        assert!(matches!(error, Error::Group(GroupError::ClientConnection)), "{error}");
        let error = groups.group("g").join_since(&websocket, None).await.unwrap_err();
        assert_eq!(error.to_string(), "a client's own connection cannot be in a group");
        groups.group("red").leave(&websocket).await.unwrap();
    }
    assert_eq!((groups.len(), groups.group("red").len().await.unwrap()), (1, 1));
}
