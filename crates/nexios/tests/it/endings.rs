//! What ends with a socket, whatever its handler does, and what a handler's own end is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{Config, Error, ServerConfig, WebSocketDisconnect};

use crate::outcome::code;
use crate::programs::echo;
use crate::serving::{Running, pause, serve, within};
use crate::wire::{Wire, close, request};

/// Sends when there is something to send, and there is nothing.
async fn push_only(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    std::future::pending().await
}

async fn one_seat() -> Running {
    serve(App::new().websocket_route("/ws", push_only).server_config(ServerConfig::new().connections(1))).await
}

#[tokio::test]
async fn a_peer_that_is_gone_takes_no_seat_though_its_handler_still_runs() {
    let server = one_seat().await;
    drop(server.upgrade("/ws").await);
    server.wait_for_connections(0).await;
    server.upgrade("/ws").await.abort();
    server.wait_for_connections(0).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(close(1000, "")).await;
    assert_eq!(wire.close_frame().await.0, 1000);
    server.wait_for_connections(0).await;
    server.upgrade("/ws").await;
}

#[tokio::test]
async fn drained_does_not_wait_for_a_handler_whose_socket_has_closed() {
    let server = one_seat().await;
    let mut wire = server.upgrade("/ws").await;
    server.handle.shutdown();
    assert_eq!(wire.close_frame().await.0, 1001);
    wire.send(close(1001, "")).await;
    within(server.handle.drained()).await;
}

struct Counted(Arc<AtomicUsize>);

impl WebSocketEndpoint for Counted {
    type Message = Message;

    async fn on_receive(&mut self, websocket: &mut WebSocket, message: Message) -> nexios::Result {
        websocket.send(message).await
    }

    async fn on_disconnect(&mut self, _: &mut WebSocket, _: WebSocketDisconnect) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_middleware_drops_is_told_of_its_end_once() {
    let told = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&told);
    let for_a_second = async |websocket: WebSocket, next: Next| {
        let _ = tokio::time::timeout(Duration::from_secs(1), next.run(websocket)).await;
        std::future::pending::<nexios::Result>().await
    };
    let route = Counted::as_route_with("/ws", move || Counted(Arc::clone(&counted)));
    let client = TestClient::new(App::new().add_ws_route(route).add_ws_middleware(for_a_second));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1000);
    pause(100).await;
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_code_that_cannot_be_sent_is_an_error_and_the_connection_goes_on() {
    let client = TestClient::new(App::new().websocket_route("/ws", echo));
    let mut websocket = client.connect("/ws").await.unwrap();
    for unsendable in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
        let by_itself = websocket.close(unsendable, "because").await;
        let by_its_sender = websocket.sender().close(unsendable, "because").await;
        assert!(matches!(by_itself, Err(Error::CloseCode(error)) if error.code() == unsendable), "{by_itself:?}");
        assert!(matches!(by_its_sender, Err(Error::CloseCode(_))), "{by_its_sender:?}");
    }
    websocket.send_text("still here").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "still here");
    websocket.close(4999, "because").await.unwrap();
}

#[test]
fn a_code_that_cannot_be_sent_panics_when_it_is_set() {
    assert!(std::panic::catch_unwind(|| ServerConfig::new().drain_code(1006)).is_err());
    let handle = App::new().handle();
    let close_user = std::panic::AssertUnwindSafe(|| handle.close_user("ann", 5000, ""));
    assert!(std::panic::catch_unwind(close_user).is_err());
}

#[tokio::test]
async fn the_end_of_another_connection_is_an_error_of_ones_own() {
    let first = Arc::<Mutex<Option<Sender>>>::default();
    let handler = move |mut websocket: WebSocket| {
        let first = Arc::clone(&first);
        async move {
            websocket.accept().await?;
            let peer = first.lock().unwrap().replace(websocket.sender());
            websocket.receive().await?;
            peer.expect("a peer").send_text("hello").await
        }
    };
    let client = TestClient::new(App::new().websocket_route("/ws", handler));
    let mut peer = client.connect("/ws").await.unwrap();
    let mut own = client.connect("/ws").await.unwrap();
    peer.close(1000, "").await.unwrap();
    pause(50).await;
    own.send_text("go").await.unwrap();
    assert_eq!(code(own.receive().await), 1011);
}

#[tokio::test]
async fn the_longest_durations_are_no_deadline_at_all() {
    let config = Config::new().handshake_timeout(Duration::MAX).close_timeout(Duration::MAX);
    let longest = ServerConfig::new().drain_deadline(Duration::MAX).reconnect_within(Duration::MAX);
    let server = serve(App::new().config(config).server_config(longest).websocket_route("/ws", echo)).await;
    let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    websocket.send_text("hello").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "hello");
    server.handle.shutdown();
    assert_eq!(code(within(websocket.receive()).await), 1001);
    within(server.serving).await.unwrap().unwrap();
}

/// What a client sees of a route: the status of the answer, and the Close frame behind a 101.
async fn refused(route: WebSocketRoute) -> (u16, Option<(u16, String)>) {
    let server = serve(App::new().add_ws_route(route)).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(request("/ws", &[])).await;
    let status = wire.head().await.status;
    let closed = if status == 101 { Some(wire.close_frame().await) } else { None };
    (status, closed)
}

async fn unauthorized(mut websocket: WebSocket) -> nexios::Result {
    websocket.reject(StatusCode::UNAUTHORIZED).await
}

async fn closing(mut websocket: WebSocket) -> nexios::Result {
    websocket.close(4321, "not today").await
}

async fn asking(_: WebSocket, _: Query<std::collections::HashMap<String, u32>>, _: Path<u32>) {}

#[tokio::test]
async fn a_refusal_after_accept_tells_a_browser_why() {
    async fn told(mut websocket: WebSocket) -> nexios::Result {
        websocket.refuse_after_accept(4401, "token expired").await
    }
    assert_eq!(refused(WebSocketRoute::new("/ws", told)).await, (101, Some((4401, "token expired".to_owned()))));
    let config = || Config::new().refuse_after_accept(true);
    let expected = (101, Some((4401, "Unauthorized".to_owned())));
    assert_eq!(refused(WebSocketRoute::new("/ws", unauthorized).config(config())).await, expected);
    let expected = (101, Some((4321, "not today".to_owned())));
    assert_eq!(refused(WebSocketRoute::new("/ws", closing).config(config())).await, expected);
    let (status, closed) = refused(WebSocketRoute::new("/ws", asking).config(config())).await;
    assert_eq!((status, closed.map(|(code, _)| code)), (101, Some(4500)), "an extractor that cannot work here");
}

#[tokio::test]
async fn without_the_setting_a_refusal_is_a_response() {
    assert_eq!(refused(WebSocketRoute::new("/ws", unauthorized)).await, (401, None));
    assert_eq!(refused(WebSocketRoute::new("/ws", closing)).await, (403, None));
}

#[tokio::test]
async fn close_codes_are_settings() {
    let codes = nexios::CloseCodes::new().not_authenticated(1008);
    let config = Config::new().authentication_timeout(Duration::from_millis(50)).close_codes(codes);
    let server = serve(App::new().websocket_route("/ws", echo).config(config)).await;
    let mut wire = server.upgrade("/ws").await;
    assert_eq!(wire.close_frame().await, (1008, "authentication timeout".to_owned()));
    assert!(std::panic::catch_unwind(|| nexios::CloseCodes::new().slow_consumer(1006)).is_err());
}

#[tokio::test]
async fn a_handler_that_takes_no_notice_of_the_end_is_cancelled_in_time() {
    struct Dropped(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |mut websocket: WebSocket| {
        let dropped = Dropped(tell.clone());
        async move {
            websocket.accept().await?;
            std::future::pending::<()>().await;
            drop(dropped);
            Ok::<_, Error>(())
        }
    };
    let config = Config::new().handler_timeout(Duration::from_millis(200));
    let server = serve(App::new().websocket_route("/ws", handler).config(config)).await;
    drop(server.upgrade("/ws").await);
    pause(100).await;
    assert!(told.try_recv().is_err(), "it has its time");
    within(told.recv()).await.expect("it was cancelled");
}
