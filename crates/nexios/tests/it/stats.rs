//! Observation: hooks on joins and leaves, and what groups count.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use nexios::Limit;
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{GroupStats, GroupsStats, MemberEvent};
use serde_json::json;
use tokio::sync::mpsc;

use crate::logs::Logs;
use crate::serving::{Running, pause, pipe, serve, wait_for_connections, within};
use crate::wire::{Wire, close, text};

// ---- hooks

/// A call of a hook: `join` or `leave`, the connection, the group, the user.
type Call = (&'static str, u64, String, Option<String>);

/// What the hooks were called with.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Call>>>);

impl Events {
    fn note(&self, what: &'static str) -> impl Fn(&MemberEvent) + Send + Sync + 'static {
        let events = self.clone();
        move |event| {
            assert_eq!(event.sender().id(), event.connection());
            let (group, user) = (event.group().to_owned(), event.user().map(str::to_owned));
            events.0.lock().unwrap().push((what, event.connection().as_u64(), group, user));
        }
    }

    fn config(&self) -> GroupsConfig {
        GroupsConfig::new().on_join(self.note("join")).on_leave(self.note("leave"))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What came since the last call, once there is so much.
    async fn take(&self, wanted: usize) -> Vec<Call> {
        for _ in 0..500 {
            if self.len() >= wanted {
                break;
            }
            pause(10).await;
        }
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Joins three groups, says its number, and ends as it is told.
async fn member(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let groups = websocket.groups();
    groups.group("a").join(&websocket).await?;
    groups.group("b").join_with(&websocket, Join::new().user("ann")).await?;
    groups.group("c").join_with(&websocket, Join::new().user("ann").info("x")?.notices()).await?;
    websocket.send_text(websocket.id().to_string()).await?;
    loop {
        match &*websocket.receive_text().await? {
            "/leave" => {
                for name in ["a", "b", "c", "a", "never joined"] {
                    groups.group(name).leave(&websocket).await?;
                }
            }
            "/return" => return Ok(()),
            "/error" => return Err(Error::other("as asked")),
            "/panic" => panic!("as asked"),
            "/close" => websocket.close(4_000, "as asked").await?,
            "/drop" => {
                drop(websocket);
                pause(50).await;
                return Ok(());
            }
            "/move" => {
                tokio::spawn(async move {
                    pause(1).await;
                    drop(websocket);
                });
                pause(50).await;
                return Ok(());
            }
            "/flood" => loop {
                websocket.sender().send_bytes(vec![0; 64 * 1024]).await?;
            },
            other => panic!("{other}"),
        }
    }
}

async fn joined(server: &Running, path: &str) -> (Wire, u64) {
    let mut wire = server.upgrade(path).await;
    loop {
        if let Ok(id) = wire.text().await.parse() {
            return (wire, id);
        }
    }
}

#[tokio::test]
async fn each_membership_has_one_join_and_then_one_leave_however_it_ends() {
    let events = Events::default();
    let strict = Config::new()
        .ping_interval(Duration::from_millis(20))
        .ping_timeout(Duration::from_millis(20))
        .close_timeout(Duration::from_millis(50));
    let app = App::new()
        .groups_config(events.config())
        .config(Config::new().close_timeout(Duration::from_millis(50)))
        .websocket_route("/", member)
        .add_ws_route(WebSocketRoute::new("/strict", member).config(strict));
    let groups = app.groups();
    let server = serve(app).await;
    let mut ends = vec!["/leave", "/return", "/error", "/panic", "/close", "/drop", "/move", "/flood"];
    ends.extend(["a close", "a protocol error", "the end of the file", "a reset", "no pong", "shutdown"]);
    for end in ends {
        let (mut wire, id) = joined(&server, if end == "no pong" { "/strict" } else { "/" }).await;
        match end {
            "a close" => wire.send(close(1000, "")).await,
            "a protocol error" => wire.send([0xFF, 0xFF]).await,
            "the end of the file" => drop(wire),
            "a reset" => wire.abort(),
            "no pong" => {}
            "shutdown" => server.handle.shutdown(),
            command => wire.send(text(command)).await,
        }
        let ann = Some("ann".to_owned());
        let memberships = [("a", None), ("b", ann.clone()), ("c", ann)];
        let mut seen = events.take(6).await;
        // In the order of joining; they end together.
        seen[3..].sort();
        let expected: Vec<_> = ["join", "leave"]
            .into_iter()
            .flat_map(|what| memberships.clone().map(|(group, user)| (what, id, group.to_owned(), user)))
            .collect();
        assert_eq!(seen, expected, "{end}");
        assert_eq!(groups.group("a").len().await.unwrap(), 0, "{end}");
    }
    // Nothing comes late, not even when the users are given up.
    server.wait_for_connections(0).await;
    assert_eq!(events.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_hooks_tell_of_connections_and_not_of_users_who_are_waited_for() {
    let events = Events::default();
    let app = App::new().groups_config(events.config()).websocket_route("/", member);
    let (groups, client) = (app.groups(), TestClient::new(app));
    for _ in 0..2 {
        drop(client.connect("/").await.unwrap());
        wait_for_connections(&client.handle(), 0).await;
    }
    let whats: Vec<_> = events.take(12).await.into_iter().map(|(what, ..)| what).collect();
    assert_eq!(whats, [["join"; 3], ["leave"; 3], ["join"; 3], ["leave"; 3]].concat());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((events.len(), groups.len()), (0, 0));
}

#[tokio::test]
async fn joining_twice_is_one_join_and_a_join_that_fails_is_none() {
    let events = Events::default();
    let config = events.config().each(GroupConfig::new().member_info(4));
    let app = App::new().groups_config(config).config(Config::new().groups_per_connection(1));
    let app = app.websocket_route("/", async |mut websocket: WebSocket, groups: Groups| -> nexios::Result {
        groups.group("before accept").join(&websocket).await.unwrap_err();
        websocket.accept().await?;
        groups.group("").join(&websocket).await.unwrap_err();
        groups.group("a").join_with(&websocket, Join::new().user("12345")).await.unwrap_err();
        for _ in 0..3 {
            groups.group("a").join_with(&websocket, Join::new().user("1234")).await?;
        }
        groups.group("one too many").join(&websocket).await.unwrap_err();
        for _ in 0..3 {
            groups.group("a").leave(&websocket).await?;
        }
        websocket.sender().close(1000, "").await?;
        groups.group("too late").join(&websocket).await.unwrap_err();
        Ok(())
    });
    let client = TestClient::new(app);
    let mut socket = client.connect("/").await.unwrap();
    socket.receive().await.unwrap_err();
    wait_for_connections(&client.handle(), 0).await;
    let seen: Vec<_> = events.take(2).await.into_iter().map(|(what, _, group, user)| (what, group, user)).collect();
    let user = Some("1234".to_owned());
    assert_eq!(seen, [("join", "a".to_owned(), user.clone()), ("leave", "a".to_owned(), user)]);
}

#[tokio::test]
async fn a_hook_that_panics_harms_nobody_and_is_logged() {
    let (logs, _guard) = Logs::capture();
    let config = GroupsConfig::new()
        .on_join(|event| assert!(event.user().is_none(), "as asked"))
        .on_leave(|_| panic!("as asked"));
    let app =
        App::new().groups_config(config).websocket_route("/", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let group = websocket.groups().group("g");
            group.join_with(&websocket, Join::new().user("ann")).await?;
            group.send_text("joined").await?;
            websocket.receive_text().await?;
            group.leave(&websocket).await?;
            websocket.send_text("left").await?;
            group.join_with(&websocket, Join::new().user("ann")).await?;
            websocket.receive_text().await.map(drop)
        });
    let (groups, client) = (app.groups(), TestClient::new(app));
    let mut sockets = vec![client.connect("/").await.unwrap(), client.connect("/").await.unwrap()];
    for socket in &mut sockets {
        assert_eq!(within(socket.receive_text()).await.unwrap(), "joined");
    }
    assert_eq!(groups.group("g").len().await.unwrap(), 2);
    assert_eq!(sockets[0].receive_text().await.unwrap(), "joined", "the second one, to the first");
    for socket in &mut sockets {
        socket.send_text("leave").await.unwrap();
        assert_eq!(within(socket.receive_text()).await.unwrap(), "left");
    }
    drop(sockets);
    wait_for_connections(&client.handle(), 0).await;
    assert_eq!(groups.group("g").len().await.unwrap(), 0);
    let errors = logs.at(tracing::Level::ERROR);
    let of_hooks = errors.iter().filter(|line| line.contains("a hook on joins or leaves panicked")).count();
    assert_eq!((of_hooks, errors.len()), (8, 8), "{errors:?}");
}

/// In a group of this size messages are put off to the end of the tick.
const MANY: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_may_use_the_groups_it_is_called_for() {
    static GROUPS: OnceLock<Groups> = OnceLock::new();
    fn now<T>(future: impl Future<Output = nexios::Result<T>>) -> T {
        future.now_or_never().expect("it does its work at the first poll").unwrap()
    }
    fn tell(event: &MemberEvent, what: &str) {
        let Some(groups) = GROUPS.get() else { return };
        let group = groups.group(event.group());
        let len = now(group.len());
        assert_eq!(now(group.presence()).len(), len);
        assert_eq!(groups.stats().members, len);
        now(group.send_text(format!("{what} {}", event.connection())));
    }
    let config = GroupsConfig::new()
        .on_join(|event| {
            tell(event, "join");
            // It is a member already, and open.
            event.sender().try_send(format!("welcome {}", event.connection())).unwrap();
        })
        .on_leave(|event| {
            tell(event, "leave");
            let _ = event.sender().try_send("too late, when the connection has ended");
        });
    let app =
        App::new().groups_config(config).websocket_route("/", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let group = websocket.groups().group("g");
            group.join(&websocket).await?;
            websocket.receive_text().await?;
            group.leave(&websocket).await?;
            websocket.receive_text().await.map(drop)
        });
    GROUPS.set(app.groups()).unwrap();
    let client = TestClient::new(app);
    let mut sockets = Vec::new();
    for _ in 0..MANY {
        let mut socket = client.connect("/").await.unwrap();
        let own = within(socket.receive_text()).await.unwrap().strip_prefix("join ").unwrap().to_owned();
        assert_eq!(within(socket.receive_text()).await.unwrap(), format!("welcome {own}").as_str());
        sockets.push((socket, own));
    }
    let (mut first, own) = sockets.remove(0);
    for (_, other) in &sockets {
        assert_eq!(within(first.receive_text()).await.unwrap(), format!("join {other}").as_str());
    }
    let (mut asked, other) = sockets.remove(0);
    asked.send_text("leave").await.unwrap();
    assert_eq!(within(first.receive_text()).await.unwrap(), format!("leave {other}").as_str());
    for (socket, other) in sockets {
        drop(socket);
        assert_eq!(within(first.receive_text()).await.unwrap(), format!("leave {other}").as_str(), "seen by {own}");
    }
}

// ---- what groups count

/// Joins the groups that the query names, and reads.
async fn reader(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let names = websocket.query_params().get("groups").unwrap_or_default().to_owned();
    for name in names.split(',') {
        groups.group(name).join(&websocket).await?;
    }
    websocket.send_text("joined").await?;
    loop {
        websocket.receive().await?;
    }
}

async fn join(client: &TestClient, groups: &str) -> WebSocket {
    let mut socket = client.connect(&format!("/?groups={groups}")).await.unwrap();
    while within(socket.receive_text()).await.unwrap() != "joined" {}
    socket
}

async fn stats_of(groups: &Groups, name: &str) -> GroupStats {
    groups.group(name).stats().await.unwrap()
}

#[tokio::test]
async fn members_and_publications_are_counted_and_what_is_gone_still_counts_in_the_total() {
    let app = App::new().websocket_route("/", reader);
    let (groups, client) = (app.groups(), TestClient::new(app));
    assert_eq!((groups.stats(), stats_of(&groups, "a").await), (GroupsStats::default(), GroupStats::default()));
    assert!(groups.group("").stats().await.is_err());
    let first = join(&client, "a,b").await;
    let second = join(&client, "a").await;
    for _ in 0..3 {
        groups.group("a").send_text("x").await.unwrap();
    }
    groups.group("b").send_json(&1).await.unwrap();
    groups.group("nobody's").send_text("heard and kept by nobody").await.unwrap();
    groups.send_to(["a", "b", "a", "nobody's"], "once in each").await.unwrap();
    let (a, b, all) = (stats_of(&groups, "a").await, stats_of(&groups, "b").await, groups.stats());
    assert_eq!((a.members, a.publications, b.members, b.publications), (2, 4, 1, 2));
    assert_eq!((all.groups, all.members, all.publications), (2, 3, 6));
    assert_eq!(
        json!(b),
        json!({"members": 1, "publications": 2, "dropped": 0, "slow_consumers": 0, "history_messages": 0,
            "history_bytes": 0, "queued_bytes": b.queued_bytes})
    );

    drop(first);
    wait_for_connections(&client.handle(), 1).await;
    assert_eq!(stats_of(&groups, "b").await, GroupStats::default(), "it is gone");
    assert_eq!((groups.stats().groups, groups.stats().members, groups.stats().publications), (1, 1, 6));
    let third = join(&client, "b").await;
    groups.group("b").send_text("x").await.unwrap();
    assert_eq!(stats_of(&groups, "b").await.publications, 1, "it is another one");
    drop((second, third));
    wait_for_connections(&client.handle(), 0).await;
    let all = groups.stats();
    assert_eq!(
        json!(all),
        json!({"groups": 0, "members": 0, "publications": 7, "dropped": 0, "slow_consumers": 0,
            "history_messages": 0, "history_bytes": 0, "queued_bytes": 0})
    );
}

#[tokio::test]
async fn what_waits_what_was_dropped_and_who_was_too_slow_is_counted_and_nothing_waits_for_who_is_gone() {
    let config = GroupsConfig::new().by_name(|name| {
        (name == "lossy").then(|| GroupConfig::new().slow_consumer(SlowConsumer::DropNewest).member_queue(10_000))
    });
    let app = App::new()
        .groups_config(config)
        .config(Config::new().outbound_queue(100_000).close_timeout(Duration::from_millis(20)))
        .websocket_route("/", reader);
    let (groups, handle) = (app.groups(), app.handle());
    let (mut wire, _) = pipe(app);
    wire.handshake("/?groups=lossy,strict").await;
    assert_eq!(wire.text().await, "joined");
    // The pipe takes 256 KiB; nobody reads it.
    let mut sent = 0;
    while stats_of(&groups, "lossy").await.dropped == 0 {
        groups.group("lossy").send_bytes(vec![0; 1_000]).await.unwrap();
        tokio::task::yield_now().await;
        sent += 1;
        assert!(sent < 10_000);
    }
    for _ in 0..9 {
        groups.group("lossy").send_bytes(vec![0; 1_000]).await.unwrap();
    }
    let (lossy, all) = (stats_of(&groups, "lossy").await, groups.stats());
    assert_eq!((lossy.dropped, lossy.publications, lossy.slow_consumers), (10, sent + 9, 0));
    assert!((8_000..=10_000).contains(&lossy.queued_bytes), "{lossy:?}");
    assert_eq!((all.dropped, all.queued_bytes), (10, lossy.queued_bytes));
    for _ in 0..100 {
        groups.group("strict").send_bytes(vec![0; 1_000]).await.unwrap();
    }
    assert_eq!(stats_of(&groups, "strict").await.slow_consumers, 1);
    wait_for_connections(&handle, 0).await;
    let all = groups.stats();
    assert_eq!((all.groups, all.members, all.queued_bytes), (0, 0, 0));
    assert_eq!((all.dropped, all.slow_consumers), (10, 1));
    assert!(all.publications > sent + 9);
}

#[tokio::test(start_paused = true)]
async fn what_histories_hold_is_counted_until_it_is_too_old() {
    let history = History::new().messages(5).age(Duration::from_mins(1));
    let app = App::new().groups_config(GroupsConfig::new().each(GroupConfig::new().history(history)));
    let groups = app.groups();
    for i in 0..10 {
        groups.group("a").send_text(i.to_string()).await.unwrap();
    }
    groups.group("b").send_bytes(vec![0; 10_000]).await.unwrap();
    let (a, b, all) = (stats_of(&groups, "a").await, stats_of(&groups, "b").await, groups.stats());
    assert_eq!((a.history_messages, a.publications, b.history_messages), (5, 10, 1));
    assert!((5..5 * 300).contains(&a.history_bytes) && (10_000..11_000).contains(&b.history_bytes), "{a:?} {b:?}");
    assert_eq!((all.groups, all.members, all.history_messages, all.publications), (2, 0, 6, 11));
    assert_eq!(all.history_bytes, a.history_bytes + b.history_bytes);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(groups.stats(), only_published(11));
}

/// What is left when nothing is left.
fn only_published(publications: u64) -> GroupsStats {
    let mut stats = GroupsStats::default();
    stats.publications = publications;
    stats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_groups_of_three_members_come_into_being_and_leave_nothing() {
    const GROUPS: usize = 20_000;
    const CONNECTIONS: usize = 60;
    let (done, mut is_done) = mpsc::unbounded_channel();
    let config = Config::new().groups_per_connection(Limit::Unlimited);
    let app = App::new().config(config).websocket_route(
        "/",
        async move |mut websocket: WebSocket, groups: Groups| -> nexios::Result {
            websocket.accept().await?;
            let number: usize = websocket.query_params().get("number").unwrap().parse().unwrap();
            // Three connections share the same 1,000 groups.
            for i in 0..GROUPS / (CONNECTIONS / 3) {
                groups.group(format!("{} {i}", number % (CONNECTIONS / 3))).join(&websocket).await?;
            }
            done.send(()).unwrap();
            loop {
                websocket.receive().await?;
            }
        },
    );
    let (groups, client) = (app.groups(), TestClient::new(app));
    let mut sockets = Vec::new();
    for number in 0..CONNECTIONS {
        sockets.push(client.connect(&format!("/?number={number}")).await.unwrap());
    }
    for _ in 0..CONNECTIONS {
        tokio::time::timeout(Duration::from_secs(20), is_done.recv()).await.unwrap().unwrap();
    }
    assert_eq!(groups.len(), GROUPS);
    assert_eq!(groups.group("7 7").len().await.unwrap(), 3);
    for i in 0..20 {
        groups.group(format!("{i} 999")).send_text("hello").await.unwrap();
    }
    for socket in &mut sockets {
        assert_eq!(within(socket.receive_text()).await.unwrap(), "hello");
    }
    let all = groups.stats();
    assert_eq!((all.groups, all.members, all.publications), (GROUPS, GROUPS * 3, 20));
    drop(sockets);
    wait_for_connections(&client.handle(), 0).await;
    assert_eq!((groups.len(), groups.stats()), (0, only_published(20)));
}
