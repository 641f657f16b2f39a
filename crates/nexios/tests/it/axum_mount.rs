//! A Nexios app inside of an axum one, and the other way round.

use std::net::SocketAddr;

use axum::routing::get;
use nexios::prelude::*;
use tokio::net::TcpListener;

use crate::outcome::{code, status};
use crate::programs::echo;
use crate::serving::{pause, within};
use crate::wire::{PING, Wire, frame, text};

async fn serve(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

#[derive(Clone)]
struct AxumState(&'static str);

#[tokio::test]
async fn an_app_is_merged_into_an_axum_router_with_a_state_of_its_own() {
    async fn named(mut websocket: WebSocket, State(name): State<&'static str>) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_text(name).await
    }
    let app = App::with_state("the app's state").websocket_route("/ws", named);
    let router = axum::Router::new()
        .route("/", get(async |State(state): State<AxumState>| state.0))
        .merge(app.into_router())
        .with_state(AxumState("axum's state"));
    let address = serve(router).await;
    let mut websocket = nexios::client::connect(format!("ws://{address}/ws")).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "the app's state");
    let mut wire = Wire::connect(address).await;
    wire.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(wire.head().await.status, 200);
    wire.body("axum's state").await;
}

#[tokio::test]
async fn an_app_is_nested_under_a_prefix() {
    async fn room(mut websocket: WebSocket, Path(room): Path<String>) -> nexios::Result {
        websocket.accept().await?;
        assert_eq!(websocket.path_params().get("room"), Some(&*room));
        websocket.send_text(room).await
    }
    let app = App::new().websocket_route("/{room}", room).websocket_route("/", echo);
    let address = serve(axum::Router::new().nest("/chat", app.into_router())).await;
    let mut websocket = nexios::client::connect(format!("ws://{address}/chat/lobby")).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "lobby");
    assert_eq!(status(nexios::client::connect(format!("ws://{address}/lobby")).await), 404);
}

#[tokio::test]
async fn under_axum_everything_is_as_under_our_own_server() {
    let (seen, mut see) = tokio::sync::mpsc::unbounded_channel();
    let app =
        App::new().websocket_route("/ws", echo).websocket_route("/busy", async move |mut websocket: WebSocket| {
            seen.send(websocket.peer_addr()).unwrap();
            websocket.accept().await?;
            pause(60_000).await;
            Ok::<_, Error>(())
        });
    let handle = app.handle();
    let address = serve(app.into_router()).await;
    let mut wire = Wire::connect(address).await;
    let mut bytes = crate::wire::upgrade_request("/ws").into_bytes();
    bytes.extend(text("in the same segment"));
    wire.send(bytes).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.text().await, "in the same segment");
    wire.send((0..16).flat_map(|i| text(&i.to_string())).collect::<Vec<_>>()).await;
    assert!(within(wire.fill()).await);
    assert_eq!(wire.frames_at_hand().len(), 16);

    let mut busy = Wire::upgrade(address, "/busy").await;
    assert_eq!(see.recv().await.unwrap(), Some(busy.stream.local_addr().unwrap()));
    busy.send(frame(PING, "hello")).await;
    assert_eq!(busy.frame().await.unwrap().payload, b"hello");
    assert_eq!(handle.connection_count(), 2);
    handle.shutdown();
    assert_eq!(wire.close_frame().await.0, 1001);
    assert_eq!(busy.close_frame().await.0, 1001);
}

#[tokio::test]
async fn a_plain_get_and_a_bad_handshake_are_answered_under_axum_too() {
    let address = serve(App::new().websocket_route("/ws", echo).into_router()).await;
    for (request, expected) in [
        ("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 426),
        (crate::wire::upgrade_request("/ws").replacen("GET", "POST", 1), 405),
        (crate::wire::upgrade_request("/ws").replace(crate::wire::KEY, "x"), 400),
        (crate::wire::upgrade_request("/nowhere"), 404),
    ] {
        let mut wire = Wire::connect(address).await;
        wire.send(request).await;
        assert_eq!(wire.head().await.status, expected);
    }
}

#[tokio::test]
async fn groups_of_an_app_reach_its_members_from_an_axum_handler() {
    async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        groups.group("news").join(&websocket).await?;
        websocket.send_text("joined").await?;
        websocket.receive().await.map(|_| ())
    }
    let app = App::new().websocket_route("/ws", member);
    let groups = app.groups();
    let publish = get(async move || {
        groups.group("news").send_text("extra, extra").await.unwrap();
        "sent"
    });
    let address = serve(app.into_router().route("/publish", publish)).await;
    let mut websocket = nexios::client::connect(format!("ws://{address}/ws")).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "joined");
    let mut wire = Wire::connect(address).await;
    wire.send("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(wire.head().await.status, 405);
    let mut wire = Wire::connect(address).await;
    wire.send("GET /publish HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(wire.head().await.status, 200);
    assert_eq!(within(websocket.receive_text()).await.unwrap(), "extra, extra");
}

#[tokio::test]
async fn axum_sockets_live_beside_ours_in_one_app() {
    let http = axum::Router::new().route("/page", get(async || "an axum route"));
    let app = App::new().websocket_route("/ws", echo).http(http);
    let address = serve(app.into_router()).await;
    let mut websocket = nexios::client::connect(format!("ws://{address}/ws")).await.unwrap();
    websocket.close(1000, "").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1000);
    let mut wire = Wire::connect(address).await;
    wire.send("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(wire.head().await.status, 200);
}

#[tokio::test]
async fn where_a_connection_cannot_be_handed_over_the_answer_is_500() {
    use tower::ServiceExt;
    let router: axum::Router = App::new().websocket_route("/ws", echo).into_router();
    let request = http::Request::get("/ws")
        .header("host", "test")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", crate::wire::KEY)
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 500);
}
