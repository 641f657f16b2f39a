//! The apps that are attacked, and the test that serves one of them in a process of its own.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use nexios::auth::Identity;
use nexios::prelude::*;
use nexios::{AppHandle, Compression, GroupConfig, GroupsConfig, History, Limit, Limits, ServerConfig};
use serde::{Deserialize, Serialize};

use super::fragile;

/// The variables that tell the other process what to serve, and where.
pub(super) const PROFILE: &str = "NEXIOS_FAULTS_SERVE";
pub(super) const ADDRESS: &str = "NEXIOS_FAULTS_ADDRESS";
pub(super) const SERVES: &str = "harness::served::serves_in_a_process_of_its_own";

/// Serves until it is killed: the process that the other tests attack. Without its variable, it has nothing to do.
#[test]
fn serves_in_a_process_of_its_own() {
    let Ok(profile) = std::env::var(PROFILE) else { return };
    let address = std::env::var(ADDRESS).unwrap();
    app(&profile).bind(address).workers(1).run().unwrap();
}

fn app(profile: &str) -> App {
    match profile {
        // What an app has that sets nothing; the routes that need it have settings of their own.
        "plain" => {
            let app = App::new().mount_ws_router(routes()).http(pages());
            let handle = app.handle();
            app.websocket_route("/operator", move |websocket| operator(websocket, handle))
        }
        // All histories together have less room than the attack on them fills.
        "histories" => {
            let history = History::new().messages(100);
            let groups = GroupsConfig::new().histories(8 << 20).each(GroupConfig::new().history(history));
            App::new().mount_ws_router(routes()).groups_config(groups)
        }
        // All connections together may hold less than a few of them would like to.
        "budget" => App::new().mount_ws_router(routes()).server_config(ServerConfig::new().buffered_bytes(32 << 20)),
        // Whoever attacks it makes it panic.
        "fragile" => {
            let app = App::new().mount_ws_router(routes()).websocket_route("/fragile/{place}", fragile::fragile);
            app.groups_config(fragile::groups_config())
        }
        other => panic!("no app is called {other}"),
    }
}

fn routes() -> WsRouter {
    let deflate = |compression| Config::new().compression(compression);
    WsRouter::new()
        .ws_route("/ws", echo)
        .add_ws_route(WebSocketRoute::new("/unlimited", echo).config(Config::new().limits(unlimited())))
        .add_ws_route(WebSocketRoute::new("/deflate", echo).config(deflate(Compression::dedicated())))
        .add_ws_route(WebSocketRoute::new("/shared", echo).config(deflate(Compression::shared())))
        .add_ws_route(WebSocketRoute::new("/deaf", deaf).config(deflate(Compression::dedicated())))
        .add_ws_route(WebSocketRoute::new("/brief", brief).config(hasty()))
        .add_ws_route(WebSocketRoute::new("/impatient", echo).config(impatient()))
        .add_ws_route(
            WebSocketRoute::new("/slow", slow).config(Config::new().ping_interval(Duration::from_millis(500))),
        )
        .ws_route("/member", member)
        .ws_route("/publisher", publisher)
        .ws_route("/joins", joins)
        .add_ws_route(WebSocketRoute::new("/unlimited-joins", joins).config(in_any_number_of_groups()))
        .ws_route("/archive", archive)
        .ws_route("/protocols", protocols)
        .ws_route("/reflect", reflect)
        .ws_route("/missing/{*path}", missing)
        .ws_route("/faulty/{fault}", faulty)
        .ws_route("/json", json)
        .ws_route("/user", user)
        .ws_route("/tenants", tenants)
}

/// What stands beside the WebSocket routes: a page, and one that takes a body and says how long it was.
fn pages() -> axum::Router {
    use axum::routing::{get, post};
    axum::Router::new()
        .route("/marker", get(async || "the marker"))
        .route("/length", post(async |body: Bytes| format!("{} bytes", body.len())))
}

fn unlimited() -> Limits {
    Limits::new().message_size(Limit::Unlimited).frame_size(Limit::Unlimited).fragments(Limit::Unlimited)
}

fn hasty() -> Config {
    Config::new().close_timeout(Duration::from_millis(300))
}

fn impatient() -> Config {
    // Who is in the middle of a frame cannot answer a Close frame, and is cut off after this.
    hasty().message_timeout(Duration::from_millis(500))
}

fn in_any_number_of_groups() -> Config {
    Config::new().groups_per_connection(Limit::Unlimited)
}

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

/// Accepts, and never receives: as an app that waits for something else, a login or its database.
async fn deaf(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    pending().await
}

/// Closes at once, with a reason that is too long for a Close frame.
async fn brief(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    websocket.close(3000, "ü".repeat(100)).await
}

/// Takes 10 ms for each message, as long as there is somebody to do it for.
async fn slow(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let sender = websocket.sender();
    loop {
        websocket.receive().await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
            _ = sender.closed() => return Ok(()),
        }
    }
}

pub(super) const ROOM: &str = "room";

/// Is in the room, and says nothing.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group(ROOM).join(&websocket).await?;
    loop {
        websocket.receive().await?;
    }
}

/// Sends what it receives to the room; an empty message asks how many are in it.
async fn publisher(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let room = groups.group(ROOM);
    loop {
        let message = websocket.receive_bytes().await?;
        if message.is_empty() {
            websocket.send_text(room.len().await?.to_string()).await?;
        } else {
            room.send_bytes(message).await?;
        }
    }
}

/// `+name` joins, `-name` leaves, `?` asks how many joins were granted and refused, and how many groups there are.
async fn joins(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let (mut granted, mut refused) = (0, 0);
    loop {
        let text = websocket.receive_text().await?;
        match text.split_at(1) {
            ("+", name) => match groups.group(name).join(&websocket).await {
                Ok(()) => granted += 1,
                Err(_) => refused += 1,
            },
            ("-", name) => groups.group(name).leave(&websocket).await?,
            _ => websocket.send_text(format!("{granted} {refused} {}", groups.len())).await?,
        }
    }
}

/// Sends 100 bytes to the group that a message names; `?name` asks how many messages its history gives at most.
async fn archive(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let text = websocket.receive_text().await?;
        if let Some(name) = text.strip_prefix('?') {
            let page = groups.group(name).history(None, usize::MAX).await?;
            websocket.send_text(page.publications.len().to_string()).await?;
        } else {
            groups.group(text.as_str()).send_bytes(vec![b'x'; 100]).await?;
        }
    }
}

/// How many messages users have sent.
static HEARD: AtomicUsize = AtomicUsize::new(0);

/// An echo for `?name=`, who may use it for so many ms.
async fn user(mut websocket: WebSocket) -> nexios::Result {
    let name = websocket.query_params().get("name").unwrap_or_default();
    let until = websocket.query_params().get("for").and_then(|ms| ms.parse().ok());
    let until = until.map(|ms| SystemTime::now() + Duration::from_millis(ms));
    let identity = Identity::new(name).expires_at(until);
    websocket.authenticate(identity)?;
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        HEARD.fetch_add(1, Ordering::Relaxed);
        websocket.send(message).await?;
    }
}

/// `revoke name` closes a user's connections, and tells how many; anything else asks how many messages users have sent.
async fn operator(mut websocket: WebSocket, handle: AppHandle) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let text = websocket.receive_text().await?;
        let answer = match text.strip_prefix("revoke ") {
            Some(name) => handle.close_user(name, 4001, "revoked"),
            None => HEARD.load(Ordering::Relaxed),
        };
        websocket.send_text(answer.to_string()).await?;
    }
}

/// Sends each name to the group of that name.
async fn tenants(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let name = websocket.receive_text().await?;
        groups.group(name.as_str()).send_text(name).await?;
    }
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Say { what: serde_json::Value },
}

/// Answers an event with itself.
async fn json(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let event: Event = websocket.receive_json().await?;
        websocket.send_json(&event).await?;
    }
}

/// Says how many subprotocols the client offers.
async fn protocols(mut websocket: WebSocket) -> nexios::Result {
    let offered = websocket.subprotocols().count();
    websocket.accept().await?;
    websocket.send_text(offered.to_string()).await
}

/// Puts what a client asks for into the head of its answer, without a look at it.
async fn reflect(mut websocket: WebSocket) -> nexios::Result {
    let query = |name| websocket.query_params().get(name).unwrap_or_default().to_owned();
    let accept = match (query("header"), query("name"), query("subprotocol")) {
        (header, _, _) if !header.is_empty() => Accept::new().header("x-echo", header),
        (_, name, _) if !name.is_empty() => Accept::new().header(name, "x"),
        (_, _, subprotocol) => Accept::new().subprotocol(subprotocol),
    };
    websocket.accept_with(accept).await
}

/// Fails with the client's own words.
async fn missing(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let path = websocket.path_params().get("path").unwrap_or_default();
    Err(Error::other(format!("no page {path}")))
}

/// Has the fault that its client names: for the tests of the harness itself.
async fn faulty(mut websocket: WebSocket, Path(fault): Path<String>) -> nexios::Result {
    websocket.accept().await?;
    match &*fault {
        "leaks-memory" => std::mem::forget(std::hint::black_box(vec![1_u8; 4 << 20])),
        "hoards-memory" => drop(std::hint::black_box(vec![1_u8; 16 << 20])),
        "leaks-descriptors" => std::mem::forget(std::fs::File::open("/dev/null")?),
        "burns-cpu" => loop {
            tokio::task::yield_now().await;
        },
        "stalls-its-thread" => std::thread::sleep(Duration::from_secs(2)),
        "panics" => panic!("a fault of the server"),
        _ => std::process::exit(1),
    }
    Ok(())
}
