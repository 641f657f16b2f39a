//! Policies: who may join, publish, and see who is there and what was said.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{Asker, ConnectionId, GroupAction, GroupError};
use tokio::sync::mpsc;
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{code, ending, status};
use crate::serving::{pause, serve, within};
use crate::wire::{Wire, text};

/// Allows everything but what was forbidden, and notes what it was asked.
#[derive(Clone, Default)]
struct Rules {
    forbidden: Arc<Mutex<HashSet<(GroupAction, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What authentication puts beside a request.
#[derive(Clone)]
struct User(&'static str);

impl Rules {
    fn forbid(&self, action: GroupAction, group: &str) {
        self.forbidden.lock().unwrap().insert((action, group.into()));
    }

    fn allow_everything(&self) {
        self.forbidden.lock().unwrap().clear();
    }

    /// What was asked since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn ask(&self, action: GroupAction, asker: &Asker, group: &str) -> bool {
        let user = asker.get::<User>().map_or("nobody", |user| user.0);
        self.asked.lock().unwrap().push(format!("{action:?} {group} for {user}"));
        !self.forbidden.lock().unwrap().contains(&(action, group.into()))
    }

    fn app(&self) -> App {
        let each = GroupConfig::new().history(History::new());
        App::new().groups_config(GroupsConfig::new().policy(self.clone()).each(each))
    }
}

impl GroupPolicy for Rules {
    fn may_join(&self, asker: &Asker, group: &str) -> bool {
        self.ask(GroupAction::Join, asker, group)
    }

    fn may_publish(&self, asker: &Asker, group: &str) -> bool {
        self.ask(GroupAction::Publish, asker, group)
    }

    fn may_broadcast(&self, asker: &Asker) -> bool {
        self.ask(GroupAction::Broadcast, asker, "")
    }

    fn may_see_presence(&self, asker: &Asker, group: &str) -> bool {
        self.ask(GroupAction::SeePresence, asker, group)
    }

    fn may_see_history(&self, asker: &Asker, group: &str) -> bool {
        self.ask(GroupAction::SeeHistory, asker, group)
    }
}

/// What a call was refused for, if it was.
#[track_caller]
fn refused<T>(result: nexios::Result<T>) -> Option<GroupAction> {
    match result {
        Ok(_) => None,
        Err(Error::Group(GroupError::Forbidden { action })) => Some(action),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a handler and hands back what it came to.
async fn run<T, F, R>(app: App, handler: F) -> T
where
    T: Send + 'static,
    F: FnOnce(WebSocket) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = T> + Send + 'static,
{
    let (done, mut is_done) = mpsc::unbounded_channel();
    let app = app.websocket_route("/", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        let _ = done.send(handler(websocket).await);
        Ok(())
    });
    let _socket = TestClient::new(app).connect("/").await.unwrap();
    within(is_done.recv()).await.expect("the handler panicked")
}

/// Everything that can be done with a group, and what each was refused for.
async fn everything(
    websocket: &WebSocket,
    groups: &Groups,
    since: Position,
) -> Vec<(&'static str, Option<GroupAction>)> {
    let group = groups.group("g");
    let mut came_to = Vec::new();
    for (name, join) in [
        ("join", Join::new()),
        ("join with notices", Join::new().notices()),
        ("join with a position", Join::new().since(since)),
        ("join for the newest", Join::new().newest(1)),
        ("join for all of it", Join::new().notices().newest(1)),
    ] {
        came_to.push((name, refused(group.join_with(websocket, join).await)));
        came_to.push(("leave", refused(group.leave(websocket).await)));
    }
    came_to.push(("send", refused(group.send("x").await)));
    came_to.push(("send_uncompressed", refused(group.send_uncompressed("x").await)));
    came_to.push(("send_keyed", refused(group.send_keyed("k", "x").await)));
    came_to.push(("send_json_keyed", refused(group.send_json_keyed("k", &1).await)));
    came_to.push(("send_text", refused(group.send_text("x").await)));
    came_to.push(("send_bytes", refused(group.send_bytes("x").await)));
    came_to.push(("send_json", refused(group.send_json(&1).await)));
    came_to.push(("send_except", refused(group.send_except(websocket, "x").await)));
    came_to.push(("send_text_except", refused(group.send_text_except(websocket, "x").await)));
    came_to.push(("send_bytes_except", refused(group.send_bytes_except(websocket, "x").await)));
    came_to.push(("send_json_except", refused(group.send_json_except(websocket, &1).await)));
    came_to.push(("send_to", refused(groups.send_to(["g"], "x").await)));
    came_to.push(("send_json_to", refused(groups.send_json_to(["g"], &1).await)));
    came_to.push(("broadcast", refused(groups.broadcast("x").await)));
    came_to.push(("broadcast_json", refused(groups.broadcast_json(&1).await)));
    came_to.push(("len", refused(group.len().await)));
    came_to.push(("is_empty", refused(group.is_empty().await)));
    came_to.push(("members", refused(group.members().await)));
    came_to.push(("member", refused(group.member(websocket.id()).await)));
    came_to.push(("presence", refused(group.presence().await)));
    came_to.push(("stats", refused(group.stats().await)));
    came_to.push(("history", refused(group.history(None, 1).await)));
    came_to
}

/// What has to be allowed for a call of [`everything`].
fn needed(call: &str) -> &'static [GroupAction] {
    match call {
        "leave" => &[],
        "join" => &[GroupAction::Join],
        "join with notices" => &[GroupAction::Join, GroupAction::SeePresence],
        "join with a position" | "join for the newest" => &[GroupAction::Join, GroupAction::SeeHistory],
        "join for all of it" => &[GroupAction::Join, GroupAction::SeePresence, GroupAction::SeeHistory],
        "broadcast" | "broadcast_json" => &[GroupAction::Broadcast],
        "len" | "is_empty" | "members" | "member" | "presence" | "stats" => &[GroupAction::SeePresence],
        "history" => &[GroupAction::SeeHistory],
        call if call.starts_with("send") => &[GroupAction::Publish],
        call => panic!("{call}"),
    }
}

const ACTIONS: [(GroupAction, &str, &str); 5] = [
    (GroupAction::Join, "g", "joining the group is not allowed"),
    (GroupAction::Publish, "g", "publishing to the group is not allowed"),
    (GroupAction::Broadcast, "", "sending to all connections is not allowed"),
    (GroupAction::SeePresence, "g", "seeing who is in the group is not allowed"),
    (GroupAction::SeeHistory, "g", "seeing what was published to the group is not allowed"),
];

#[tokio::test]
async fn each_call_is_refused_when_what_it_needs_is_forbidden_and_not_otherwise() {
    let rules = Rules::default();
    let (app, theirs) = (rules.app(), rules.clone());
    run(app, async move |websocket| {
        let groups = websocket.groups();
        let since = groups.group("g").history(None, 0).await.unwrap().position;
        for (forbidden, group, text) in ACTIONS {
            theirs.forbid(forbidden, group);
            for (call, refused) in everything(&websocket, &groups, since).await {
                let expected = needed(call).contains(&forbidden).then_some(forbidden);
                assert_eq!(refused, expected, "{call}");
            }
            assert_eq!(GroupError::Forbidden { action: forbidden }.to_string(), text);
            // Of other groups nothing was said.
            assert_eq!(refused(groups.group("other").join(&websocket).await), None);
            theirs.allow_everything();
        }
        let came_to = everything(&websocket, &groups, since).await;
        assert!(came_to.iter().all(|(_, refused)| refused.is_none()), "{came_to:?}");
    })
    .await;
    let of_joins = ["Join g for nobody", "SeePresence g for nobody", "SeeHistory g for nobody"];
    let asked = rules.asked();
    assert!(asked.windows(3).any(|three| three == of_joins), "{asked:?}");
}

#[tokio::test]
async fn a_policy_that_says_nothing_allows_everything() {
    struct Lax;
    impl GroupPolicy for Lax {}
    let each = GroupConfig::new().history(History::new());
    let app = App::new().groups_config(GroupsConfig::new().policy(Lax).each(each));
    let came_to = run(app, async |websocket| {
        let groups = websocket.groups();
        let since = groups.group("g").history(None, 0).await.unwrap().position;
        everything(&websocket, &groups, since).await
    })
    .await;
    assert!(came_to.iter().all(|(_, refused)| refused.is_none()), "{came_to:?}");
}

#[tokio::test]
async fn a_right_that_was_taken_away_is_gone_at_the_next_call_of_the_same_handle() {
    let rules = Rules::default();
    let theirs = rules.clone();
    run(rules.app(), async move |websocket| {
        let group = websocket.groups().group("g");
        group.join(&websocket).await.unwrap();
        group.send_text("may").await.unwrap();
        theirs.forbid(GroupAction::Publish, "g");
        assert_eq!(refused(group.send_text("may not").await), Some(GroupAction::Publish));
        theirs.allow_everything();
        group.send_text("may again").await.unwrap();
        theirs.forbid(GroupAction::Join, "g");
        // A member it stays: nobody asks for that again, until it joins again.
        assert_eq!(group.len().await.unwrap(), 1);
        assert_eq!(refused(group.join(&websocket).await), Some(GroupAction::Join));
        assert_eq!(group.len().await.unwrap(), 1);
        group.leave(&websocket).await.unwrap();
        assert_eq!(refused(group.join(&websocket).await), Some(GroupAction::Join));
        assert_eq!(group.len().await.unwrap(), 0);
        let kept = group.history(None, 10).await.unwrap().publications;
        assert_eq!(kept.iter().map(|one| one.message.clone()).collect::<Vec<_>>(), ["may".into(), "may again".into()]);
    })
    .await;
}

#[tokio::test]
async fn what_the_app_does_itself_is_always_allowed_but_not_that_a_connection_joins() {
    let rules = Rules::default();
    for (action, group, _) in ACTIONS {
        rules.forbid(action, group);
    }
    let app = rules.app();
    let (groups, theirs) = (app.groups(), rules.clone());
    run(app, async move |websocket| {
        let since = groups.group("g").history(None, 0).await.unwrap().position;
        for (call, refused) in everything(&websocket, &groups, since).await {
            let expected = call.starts_with("join").then_some(GroupAction::Join);
            assert_eq!(refused, expected, "{call}");
        }
        assert_eq!(theirs.asked(), ["Join g for nobody"; 5]);
    })
    .await;
}

#[tokio::test]
async fn a_message_to_several_groups_of_which_one_is_forbidden_reaches_nobody() {
    let rules = Rules::default();
    let app = rules.app();
    let own = app.groups();
    rules.forbid(GroupAction::Publish, "b");
    run(app, async move |mut websocket| {
        for name in ["a", "b", "c"] {
            websocket.groups().group(name).join(&websocket).await.unwrap();
        }
        for names in [["a", "b"], ["b", "a"], ["c", "b"]] {
            let came_to = websocket.groups().send_to(names, "news").await;
            assert_eq!(refused(came_to), Some(GroupAction::Publish));
        }
        assert_eq!((own.stats().publications, own.stats().history_messages, own.stats().queued_bytes), (0, 0, 0));
        websocket.groups().send_to(["a", "c"], "news").await.unwrap();
        assert_eq!(own.stats().publications, 2);
        websocket.close(1000, "").await
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_join_that_was_refused_leaves_nothing_behind() {
    let rules = Rules::default();
    let (seen, see) = mpsc::unbounded_channel();
    let config = GroupsConfig::new().policy(rules.clone());
    let app = App::new().groups_config(config.on_join(move |event| seen.send(event.group().to_owned()).unwrap()));
    for (action, group, _) in ACTIONS {
        rules.forbid(action, group);
    }
    let groups = app.groups();
    run(app, async move |websocket| {
        for join in [Join::new(), Join::new().user("ann").notices().newest(5)] {
            assert_eq!(refused(groups.group("g").join_with(&websocket, join).await), Some(GroupAction::Join));
        }
        assert_eq!((groups.len(), groups.stats().members), (0, 0));
    })
    .await;
    assert!(see.is_empty());
}

/// What a policy sees of an asker: the connection, its peer, its user.
type Seen = (ConnectionId, Option<SocketAddr>, Option<&'static str>);

/// Tells what it sees of those who join and publish.
struct Sees(mpsc::UnboundedSender<Seen>);

impl Sees {
    fn look(&self, asker: &Asker) -> bool {
        let user = asker.get::<User>().map(|user| user.0);
        self.0.send((asker.connection(), asker.peer_addr(), user)).is_ok()
    }

    /// An app with this policy, and what it sees.
    fn app() -> (App, mpsc::UnboundedReceiver<Seen>) {
        let (seen, see) = mpsc::unbounded_channel();
        (App::new().groups_config(GroupsConfig::new().policy(Self(seen))), see)
    }
}

impl GroupPolicy for Sees {
    fn may_join(&self, asker: &Asker, _: &str) -> bool {
        self.look(asker)
    }

    fn may_publish(&self, asker: &Asker, _: &str) -> bool {
        self.look(asker)
    }
}

/// Asks in every way in which a handler can come by the groups, and tells its number.
async fn asks_in_every_way(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    if !websocket.sender().is_open() {
        websocket.accept().await?;
    }
    groups.group("g").send_text("by the extractor").await?;
    websocket.groups().group("g").send_text("by the websocket").await?;
    let extracted: Groups = websocket.extract(&()).await.unwrap();
    extracted.group("g").send_text("by extracting").await?;
    extracted.group("g").join(&websocket).await?;
    // Also from elsewhere, and as long as anybody has the handle.
    tokio::spawn(async move { groups.group("g").send_text("by another task").await }).await.unwrap()?;
    websocket.send_text(websocket.id().to_string()).await
}

const WAYS: usize = 5;

async fn insert_user(mut websocket: WebSocket, next: Next) -> nexios::Result {
    websocket.extensions_mut().insert(User("ann"));
    next.run(websocket).await
}

async fn accept_and_insert_user(mut websocket: WebSocket, next: Next) -> nexios::Result {
    websocket.accept().await?;
    insert_user(websocket, next).await
}

#[tokio::test]
async fn the_policy_sees_the_connection_its_peer_and_what_was_put_beside_the_request() {
    let (app, mut see) = Sees::app();
    let early = WsRouter::new().ws_route("/early", asks_in_every_way).add_ws_middleware(insert_user);
    let late = WebSocketRoute::new("/late", asks_in_every_way).middleware(accept_and_insert_user);
    let app = app
        .websocket_route("/nobody", asks_in_every_way)
        .mount_ws_router_at("/outer", WsRouter::new().mount_ws_router_at("/inner", early))
        .add_ws_route(late);
    let server = serve(app).await;
    for (path, user) in [("/nobody", None), ("/outer/inner/early", Some("ann")), ("/late", Some("ann"))] {
        let mut wire = server.upgrade(path).await;
        // The late one joins before it hears anything.
        let id = loop {
            match wire.text().await {
                text if text.starts_with("by ") => {}
                text => break text,
            }
        };
        for _ in 0..WAYS {
            let (connection, peer, seen) = within(see.recv()).await.unwrap();
            let expected = (id.clone(), Some(wire.stream.local_addr().unwrap()), user);
            assert_eq!((connection.to_string(), peer, seen), expected, "{path}");
        }
    }
    assert!(see.is_empty());
}

#[tokio::test]
async fn without_a_socket_there_is_no_peer() {
    let (app, mut see) = Sees::app();
    let mut socket = TestClient::new(app.websocket_route("/", asks_in_every_way)).connect("/").await.unwrap();
    while socket.receive().await.is_ok() {}
    for _ in 0..WAYS {
        let (_, peer, user) = within(see.recv()).await.unwrap();
        assert_eq!((peer, user), (None, None));
    }
}

#[tokio::test]
async fn mounted_in_axum_the_policy_sees_what_axums_layers_and_server_tell() {
    let (app, mut see) = Sees::app();
    let router = app.websocket_route("/ws", asks_in_every_way).into_router();
    let router = axum::Router::new().nest("/outer", router).layer(Extension(User("axum")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let wire = Wire::upgrade(address, "/outer/ws").await;
    let peer = wire.stream.local_addr().unwrap();
    for _ in 0..WAYS {
        let (_, seen, user) = within(see.recv()).await.unwrap();
        assert_eq!((seen, user), (Some(peer), Some("axum")));
    }
    serving.abort();
}

#[tokio::test]
async fn a_handle_sees_what_was_there_when_it_was_taken_and_a_join_what_is_there_now() {
    let (app, mut see) = Sees::app();
    run(app, async move |mut websocket: WebSocket| {
        let before = websocket.groups();
        websocket.extensions_mut().insert(User("ann"));
        before.group("g").send_text("x").await.unwrap();
        websocket.groups().group("g").send_text("x").await.unwrap();
        before.group("g").join(&websocket).await.unwrap();
        websocket.extensions_mut().remove::<User>();
        websocket.groups().group("g").send_text("x").await.unwrap();
    })
    .await;
    let users: Vec<_> = std::iter::from_fn(|| see.try_recv().ok()).map(|(_, _, user)| user).collect();
    assert_eq!(users, [None, Some("ann"), Some("ann"), None]);
}

/// Publishes what it is told; when that is forbidden, it fails, in the way of the path.
async fn publisher(mut websocket: WebSocket, Path(way): Path<String>, groups: Groups) -> anyhow::Result<()> {
    use anyhow::Context;
    if way == "early" {
        groups.group("g").send_text("before accept").await?;
    }
    websocket.accept().await?;
    let text = websocket.receive_text().await?;
    let came_to = groups.group("g").send_text(text).await;
    if way == "wrapped" {
        return came_to.context("while publishing");
    }
    Ok(came_to?)
}

#[tokio::test]
async fn what_is_forbidden_closes_1008_when_the_handler_lets_it_out_and_is_no_error_in_the_log() {
    let (logs, _guard) = Logs::capture();
    let rules = Rules::default();
    rules.forbid(GroupAction::Publish, "g");
    let (seen, mut see) = mpsc::unbounded_channel();
    let (ended, mut end) = mpsc::unbounded_channel();
    let app = rules
        .app()
        .on_error(move |error| seen.send(error.to_string()).unwrap())
        .add_ws_middleware(async move |websocket: WebSocket, next: Next| -> nexios::Result {
            let (sender, ended) = (websocket.sender(), ended.clone());
            tokio::spawn(async move { ended.send(sender.closed().await) });
            next.run(websocket).await
        })
        .websocket_route("/{way}", publisher);
    let server = serve(app).await;
    for (way, told) in [("plain", "publishing to the group is not allowed"), ("wrapped", "while publishing")] {
        let mut wire = server.upgrade(&format!("/{way}")).await;
        wire.send(text("hello")).await;
        assert_eq!(wire.close_frame().await, (1008, String::new()), "{way}");
        drop(wire);
        assert_eq!(within(see.recv()).await.unwrap(), told);
        let end = within(end.recv()).await.unwrap();
        assert_eq!((end.cause(), u16::from(end.code()), end.ended_by()), (Cause::Forbidden, 1008, EndedBy::Local));
    }
    assert_eq!(status(nexios::client::connect(server.url("/early")).await), 403);
    assert_eq!(within(see.recv()).await.unwrap(), "publishing to the group is not allowed");
    // A client could fill it at will.
    assert_eq!(logs.at(Level::WARN), [] as [&str; 0]);
    // Nor at INFO: the first is a line, and those of the second after it are another.
    let counted = || {
        let lines = logs.at(Level::INFO).into_iter().filter(|line| line.contains("refused what the peer asked for"));
        lines.filter_map(|line| line.split("count=").nth(1)?.split(' ').next()?.parse::<u32>().ok()).sum::<u32>()
    };
    for _ in 0..30 {
        if counted() == 3 {
            return;
        }
        pause(100).await;
    }
    panic!("{:?}", logs.at(Level::INFO));
}

#[tokio::test]
async fn a_handler_that_takes_no_for_an_answer_goes_on() {
    let rules = Rules::default();
    rules.forbid(GroupAction::Publish, "g");
    let app = rules.app().websocket_route("/", async |mut websocket: WebSocket, groups: Groups| -> nexios::Result {
        websocket.accept().await?;
        loop {
            let text = websocket.receive_text().await?;
            if let Err(error) = groups.group("g").send_text(text).await {
                websocket.send_text(error.to_string()).await?;
            }
        }
    });
    let mut socket = TestClient::new(app).connect("/").await.unwrap();
    for _ in 0..3 {
        socket.send_text("hello").await.unwrap();
        assert_eq!(socket.receive_text().await.unwrap(), "publishing to the group is not allowed");
    }
}

#[tokio::test]
async fn a_policy_that_panics_ends_the_connection_that_asked_and_no_other() {
    struct Panics;
    impl GroupPolicy for Panics {
        fn may_publish(&self, _: &Asker, group: &str) -> bool {
            assert_ne!(group, "bad", "as asked");
            true
        }
    }
    let app = App::new().groups_config(GroupsConfig::new().policy(Panics));
    let app = app.websocket_route("/", async |mut websocket: WebSocket, groups: Groups| -> nexios::Result {
        websocket.accept().await?;
        groups.group("good").join(&websocket).await?;
        groups.group("bad").join(&websocket).await?;
        loop {
            let name = websocket.receive_text().await?;
            groups.group(&name).send_text(name).await?;
        }
    });
    let groups = app.groups();
    let client = TestClient::new(app);
    let mut good = client.connect("/").await.unwrap();
    let mut bad = client.connect("/").await.unwrap();
    bad.send_text("bad").await.unwrap();
    assert_eq!(code(bad.receive().await), 1011);
    good.send_text("good").await.unwrap();
    assert_eq!(good.receive_text().await.unwrap(), "good");
    assert_eq!(groups.group("bad").len().await.unwrap(), 1);
    good.close(1000, "").await.unwrap();
    assert_eq!(ending(good.receive().await).cause(), Cause::Closed);
    for _ in 0..100 {
        if groups.is_empty() {
            return;
        }
        pause(10).await;
    }
    panic!("{} groups are left", groups.len());
}
