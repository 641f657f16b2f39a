//! Class-based endpoints.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nexios::prelude::*;
use nexios::testing::TestClient;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{code, status};
use crate::serving::{serve, wait_for_connections, within};
use crate::wire::frame;

#[derive(Default)]
struct Counter {
    messages: usize,
}

impl WebSocketEndpoint for Counter {
    type Message = Utf8Bytes;

    async fn on_receive(&mut self, websocket: &mut WebSocket, text: Utf8Bytes) -> nexios::Result {
        self.messages += 1;
        websocket.send_text(format!("{}: {text}", self.messages)).await
    }
}

#[tokio::test]
async fn each_connection_has_a_value_of_its_own() {
    let client = TestClient::new(App::new().add_ws_route(Counter::as_route("/count")));
    let mut first = client.connect("/count").await.unwrap();
    let mut second = client.connect("/count").await.unwrap();
    for i in 1..=3 {
        first.send_text("a").await.unwrap();
        assert_eq!(first.receive_text().await.unwrap(), format!("{i}: a"));
    }
    second.send_text("b").await.unwrap();
    assert_eq!(second.receive_text().await.unwrap(), "1: b");
}

#[tokio::test]
async fn a_factory_may_give_each_connection_what_it_needs() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let route = Counter::as_route_with("/count", move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Counter { messages: 100 }
    });
    let client = TestClient::new(App::new().add_ws_route(route));
    for i in 1..=2 {
        let mut websocket = client.connect("/count").await.unwrap();
        websocket.send_text("x").await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), "101: x");
        assert_eq!(made.load(Ordering::Relaxed), i);
    }
}

#[derive(Default)]
struct Raw;

impl WebSocketEndpoint for Raw {
    type Message = Message;

    async fn on_receive(&mut self, websocket: &mut WebSocket, message: Message) -> nexios::Result {
        websocket.send(message).await
    }
}

#[derive(Default)]
struct Binary;

impl WebSocketEndpoint for Binary {
    type Message = Bytes;

    async fn on_receive(&mut self, websocket: &mut WebSocket, bytes: Bytes) -> nexios::Result {
        websocket.send_bytes(bytes).await
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
}

#[derive(Default)]
struct Typed;

impl WebSocketEndpoint for Typed {
    type Message = Json<Point>;

    async fn on_receive(&mut self, websocket: &mut WebSocket, Json(point): Json<Point>) -> nexios::Result {
        websocket.send_json(&Point { x: point.x + 1 }).await
    }
}

#[tokio::test]
async fn an_endpoint_receives_the_type_of_message_that_it_names() {
    let app = App::new()
        .add_ws_route(Raw::as_route("/raw"))
        .add_ws_route(Binary::as_route("/binary"))
        .add_ws_route(Typed::as_route("/typed"));
    let client = TestClient::new(app);
    let mut raw = client.connect("/raw").await.unwrap();
    for message in [Message::from("text"), Message::from(vec![1])] {
        raw.send(message.clone()).await.unwrap();
        assert_eq!(raw.receive().await.unwrap(), message);
    }
    let mut binary = client.connect("/binary").await.unwrap();
    binary.send_bytes(vec![2]).await.unwrap();
    assert_eq!(binary.receive_bytes().await.unwrap(), vec![2]);
    let mut typed = client.connect("/typed").await.unwrap();
    typed.send_json(&Point { x: 1 }).await.unwrap();
    assert_eq!(typed.receive_json::<Point>().await.unwrap(), Point { x: 2 });
}

#[tokio::test]
async fn a_message_that_an_endpoint_does_not_take_closes_1003_or_1007() {
    let app = App::new()
        .add_ws_route(Counter::as_route("/text"))
        .add_ws_route(Binary::as_route("/binary"))
        .add_ws_route(Typed::as_route("/typed"));
    let client = TestClient::new(app);
    let cases = [
        ("/text", Message::from(vec![1]), 1003),
        ("/binary", Message::from("text"), 1003),
        ("/typed", Message::from(vec![1]), 1003),
        ("/typed", Message::from("{"), 1007),
        ("/typed", Message::from(r#"{"y": 1}"#), 1007),
    ];
    for (path, message, expected) in cases {
        let mut websocket = client.connect(path).await.unwrap();
        websocket.send(message).await.unwrap();
        assert_eq!(code(websocket.receive().await), expected, "{path}");
    }
}

/// What an endpoint went through, and what it should do.
#[derive(Clone)]
struct Watched {
    seen: mpsc::UnboundedSender<String>,
}

impl WebSocketEndpoint for Watched {
    type Message = Utf8Bytes;

    async fn on_connect(&mut self, websocket: &mut WebSocket) -> nexios::Result {
        match websocket.query_params().get("do") {
            Some("fail") => return Err(Error::other("on_connect failed")),
            Some("refuse") => return websocket.close(1008, "Unauthorized").await,
            Some("ignore") => return Ok(()),
            Some("leave") => {
                websocket.accept().await?;
                return websocket.close(4000, "at once").await;
            }
            _ => {}
        }
        self.seen.send("connect".to_owned()).unwrap();
        websocket.accept().await
    }

    async fn on_receive(&mut self, websocket: &mut WebSocket, text: Utf8Bytes) -> nexios::Result {
        match &*text {
            "fail" => Err(Error::other("on_receive failed")),
            "panic" => panic!("on_receive panicked"),
            "close" => websocket.close(4000, "enough").await,
            "done" => websocket.send_text("done").await,
            _ => Ok(()),
        }
    }

    async fn on_disconnect(&mut self, _websocket: &mut WebSocket, end: WebSocketDisconnect) {
        self.seen.send(format!("{} {:?} {}", u16::from(end.code()), end.ended_by(), end.cause().as_str())).unwrap();
    }
}

fn watched() -> (App, mpsc::UnboundedReceiver<String>) {
    let (seen, see) = mpsc::unbounded_channel();
    let endpoint = Watched { seen };
    (App::new().add_ws_route(Watched::as_route_with("/ws", move || endpoint.clone())), see)
}

#[tokio::test]
async fn on_disconnect_runs_however_the_connection_ended() {
    let (app, mut see) = watched();
    let server = serve(app).await;
    let cases = [
        (frame(0x8, [0x03, 0xE9]), false, "1001 Peer closed"),
        (frame(0x1, "fail"), false, "1011 Local handler failed"),
        (frame(0x1, "panic"), false, "1011 Local handler failed"),
        (frame(0x1, "close"), false, "4000 Local closed"),
        (frame(0x2, "binary"), false, "1003 Local unexpected message"),
        (vec![0xFF, 0xFF], false, "1002 Local protocol error"),
        (Vec::new(), true, "1006 Peer connection lost"),
    ];
    for (bytes, abort, expected) in cases {
        let mut wire = server.upgrade("/ws").await;
        assert_eq!(within(see.recv()).await.unwrap(), "connect");
        wire.send(bytes).await;
        if abort {
            wire.abort();
        } else {
            // Not the peer's turn to be lost first.
            let mut closed = wire.close_frame().await.0.to_be_bytes().to_vec();
            closed.truncate(2);
            let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &frame(0x8, closed)).await;
        }
        assert_eq!(within(see.recv()).await.unwrap(), expected);
    }
    server.wait_for_connections(0).await;
    assert!(see.try_recv().is_err(), "on_disconnect ran twice");
}

#[tokio::test]
async fn on_disconnect_runs_at_shutdown() {
    let (app, mut see) = watched();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(see.recv().await.unwrap(), "connect");
    client.handle().shutdown();
    assert_eq!(code(websocket.receive().await), 1001);
    assert_eq!(within(see.recv()).await.unwrap(), "1001 Local shutdown");
}

#[tokio::test]
async fn on_disconnect_does_not_run_when_on_connect_failed() {
    let (app, mut see) = watched();
    let client = TestClient::new(app);
    assert_eq!(status(client.connect("/ws?do=fail").await), 403);
    wait_for_connections(&client.handle(), 0).await;
    assert!(see.try_recv().is_err());
}

#[tokio::test]
async fn refusing_in_on_connect_is_no_error() {
    let (logs, _guard) = Logs::capture();
    let errors = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&errors);
    let (app, _see) = watched();
    let client = TestClient::new(app.on_error(move |error| seen.lock().unwrap().push(error.to_string())));
    for path in ["/ws?do=refuse", "/ws?do=ignore"] {
        assert_eq!(status(client.connect(path).await), 403, "{path}");
        wait_for_connections(&client.handle(), 0).await;
        assert_eq!(*errors.lock().unwrap(), Vec::<String>::new(), "{path}");
    }
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
}

#[tokio::test]
async fn closing_in_on_connect_after_accepting_is_no_error_and_on_disconnect_runs() {
    let (logs, _guard) = Logs::capture();
    let (app, mut see) = watched();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws?do=leave").await.unwrap();
    assert_eq!(code(websocket.receive().await), 4000);
    assert_eq!(within(see.recv()).await.unwrap(), "4000 Local closed");
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
}

#[tokio::test]
async fn an_endpoint_may_have_middleware_and_limits_of_its_own() {
    async fn guard(mut websocket: WebSocket, next: Next) -> nexios::Result {
        match websocket.query_params().get("token") {
            Some(_) => next.run(websocket).await,
            None => websocket.close(1008, "").await,
        }
    }
    let route = Counter::as_route("/count").middleware(guard).config(Config::new().message_size(4));
    let client = TestClient::new(App::new().add_ws_route(route));
    assert_eq!(status(client.connect("/count").await), 403);
    let mut websocket = client.connect("/count?token=1").await.unwrap();
    websocket.send_text("four").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "1: four");
    websocket.send_text("fives").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1009);
}

#[tokio::test]
async fn an_endpoint_works_in_a_router_of_an_app_with_state() {
    let router = WsRouter::new().add_ws_route(Counter::as_route("/count"));
    let client = TestClient::new(App::with_state(7_u8).mount_ws_router_at("/api", router));
    let mut websocket = client.connect("/api/count").await.unwrap();
    websocket.send_text("x").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "1: x");
}
