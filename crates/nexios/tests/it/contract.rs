//! The programs of the reference document, under the names of the contract, and the bounds that it promises.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex};

use nexios::prelude::*;
use nexios::testing::TestClient;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::outcome::{code, ending, status};
use crate::serving::wait_for_connections;

// ---- Basic WebSocket Endpoint

async fn websocket_endpoint(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        match websocket.receive_text().await {
            Ok(data) => websocket.send_text(format!("Message text was: {data}")).await?,
            Err(Error::Disconnect(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[tokio::test]
async fn basic_endpoint() {
    let app = App::new().websocket_route("/ws", websocket_endpoint);
    let mut websocket = TestClient::new(app).connect("/ws").await.unwrap();
    websocket.send_text("hello").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Message text was: hello");
}

// ---- Class-Based WebSocket Controller

#[derive(Default)]
struct WebSocketController;

impl WebSocketEndpoint for WebSocketController {
    type Message = Utf8Bytes;

    async fn on_connect(&mut self, websocket: &mut WebSocket) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_text("WebSocket connection accepted.").await
    }

    async fn on_receive(&mut self, websocket: &mut WebSocket, data: Utf8Bytes) -> nexios::Result {
        websocket.send_text(format!("Echo: {data}")).await
    }

    async fn on_disconnect(&mut self, _websocket: &mut WebSocket, end: WebSocketDisconnect) {
        assert_eq!((u16::from(end.code()), end.reason()), (1000, "bye"));
    }
}

#[tokio::test]
async fn class_based_controller() {
    let app = App::new().add_ws_route(WebSocketController::as_route("/ws"));
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "WebSocket connection accepted.");
    websocket.send_text("hello").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Echo: hello");
    websocket.close(1000, "bye").await.unwrap();
    wait_for_connections(&client.handle(), 0).await;
}

// ---- Handling JSON Data

#[derive(Serialize, Deserialize)]
struct Response {
    response: String,
}

async fn websocket_json_endpoint(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let _data: serde_json::Value = websocket.receive_json().await?;
        websocket.send_json(&json!({"response": "JSON received"})).await?;
    }
}

#[tokio::test]
async fn json_data() {
    let app = App::new().websocket_route("/ws/json", websocket_json_endpoint);
    let mut websocket = TestClient::new(app).connect("/ws/json").await.unwrap();
    websocket.send_json(&json!({"any": ["thing", 1, null]})).await.unwrap();
    let answer: Response = websocket.receive_json().await.unwrap();
    assert_eq!(answer.response, "JSON received");
}

// ---- Broadcasting Messages

type ActiveConnections = Arc<Mutex<Vec<Sender>>>;

async fn websocket_broadcast_endpoint(
    mut websocket: WebSocket,
    State(active_connections): State<ActiveConnections>,
) -> nexios::Result {
    websocket.accept().await?;
    active_connections.lock().unwrap().push(websocket.sender());
    while let Some(Ok(data)) = websocket.messages().next().await {
        let Message::Text(data) = data else { continue };
        let connections = active_connections.lock().unwrap().clone();
        for connection in connections {
            let _ = connection.send_text(format!("Broadcast: {data}")).await;
        }
    }
    active_connections.lock().unwrap().retain(|sender| sender.id() != websocket.id());
    Ok(())
}

#[tokio::test]
async fn broadcasting() {
    let connections = ActiveConnections::default();
    let app = App::with_state(connections.clone()).websocket_route("/ws/broadcast", websocket_broadcast_endpoint);
    let client = TestClient::new(app);
    let mut a = client.connect("/ws/broadcast").await.unwrap();
    let mut b = client.connect("/ws/broadcast").await.unwrap();
    a.send_text("hi").await.unwrap();
    assert_eq!(a.receive_text().await.unwrap(), "Broadcast: hi");
    assert_eq!(b.receive_text().await.unwrap(), "Broadcast: hi");
    b.close(1000, "").await.unwrap();
    wait_for_connections(&client.handle(), 1).await;
    assert_eq!(connections.lock().unwrap().len(), 1);
}

// ---- Error Handling

#[derive(Debug)]
struct ValueError;

impl std::fmt::Display for ValueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulated error")
    }
}

impl StdError for ValueError {}

async fn websocket_error_endpoint(mut websocket: WebSocket) -> nexios::Result {
    async fn serve(websocket: &mut WebSocket) -> nexios::Result {
        loop {
            let data = websocket.receive_text().await?;
            if data == "error" {
                return Err(Error::other(ValueError));
            }
            websocket.send_text(format!("Message: {data}")).await?;
        }
    }
    websocket.accept().await?;
    match serve(&mut websocket).await {
        Err(Error::Disconnect(_)) | Ok(()) => Ok(()),
        Err(error) => websocket.send_text(format!("Error: {error}")).await,
    }
}

#[tokio::test]
async fn error_handling() {
    let app = App::new().websocket_route("/ws/error", websocket_error_endpoint);
    let mut websocket = TestClient::new(app).connect("/ws/error").await.unwrap();
    websocket.send_text("fine").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Message: fine");
    websocket.send_text("error").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Error: Simulated error");
    assert_eq!(code(websocket.receive().await), 1000);
}

// ---- Authentication and Authorization

async fn websocket_secure_endpoint(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let token = websocket.query_params().get("token");
    if token != Some("secret-token") {
        websocket.close(1008, "Unauthorized").await?;
        return Ok(());
    }
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Secure message: {data}")).await?;
    }
}

#[tokio::test]
async fn authentication() {
    let client = TestClient::new(App::new().websocket_route("/ws/secure", websocket_secure_endpoint));
    let mut websocket = client.connect("/ws/secure?token=wrong").await.unwrap();
    let end = ending(websocket.receive().await);
    assert_eq!((end.code(), end.reason()), (CloseCode::from(1008), "Unauthorized"));
    let mut websocket = client.connect("/ws/secure?token=secret-token").await.unwrap();
    websocket.send_text("hush").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Secure message: hush");
}

// ---- Router and Middleware

async fn chat_websocket(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Chat Message: {data}")).await?;
    }
}

async fn notifications_websocket(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Notification received: {data}")).await?;
    }
}

async fn auth_check(mut websocket: WebSocket, call_next: Next) -> nexios::Result {
    let token = websocket.query_params().get("token");
    if token != Some("valid-token") {
        return websocket.close(1008, "Unauthorized").await;
    }
    call_next.run(websocket).await
}

struct AuthMiddleware;

impl WebSocketMiddleware for AuthMiddleware {
    async fn handle(&self, websocket: WebSocket, next: Next) -> nexios::Result {
        auth_check(websocket, next).await
    }
}

#[tokio::test]
async fn router_with_function_and_type_middleware() {
    let router =
        || WsRouter::new().ws_route("/chat", chat_websocket).ws_route("/notifications", notifications_websocket);
    for app in [
        App::new().mount_ws_router(router()).add_ws_middleware(auth_check),
        App::new().add_ws_middleware(AuthMiddleware).mount_ws_router(router()),
    ] {
        let client = TestClient::new(app);
        for (path, answer) in [("/chat", "Chat Message: x"), ("/notifications", "Notification received: x")] {
            assert_eq!(status(client.connect(path).await), 403);
            let mut websocket = client.connect(&format!("{path}?token=valid-token")).await.unwrap();
            websocket.send_text("x").await.unwrap();
            assert_eq!(websocket.receive_text().await.unwrap(), answer);
        }
    }
}

// ---- The shapes that the contract fixes

#[test]
fn handles_are_owned_cloneable_and_shared_between_threads() {
    fn handle<T: Clone + Send + Sync + 'static>() {}
    fn send_sync<T: Send + Sync>() {}
    fn error<T: StdError + Send + Sync + 'static>() {}
    handle::<Sender>();
    handle::<Group>();
    handle::<Groups>();
    handle::<WebSocketDisconnect>();
    handle::<Message>();
    handle::<Accept>();
    handle::<Config>();
    handle::<nexios::AppHandle>();
    handle::<TestClient>();
    send_sync::<WebSocket>();
    send_sync::<nexios::Messages<'_>>();
    fn send<T: Send + 'static>() {}
    send::<App>();
    send_sync::<WsRouter>();
    send_sync::<WebSocketRoute>();
    send_sync::<Next>();
    error::<Error>();
    error::<WebSocketDisconnect>();
    error::<nexios::client::ConnectError>();
}

#[test]
fn futures_are_send() {
    fn send<T: Send>(_: T) {}
    fn of_websocket(websocket: &mut WebSocket, sender: &Sender, group: &Group, client: &TestClient) {
        send(websocket.accept());
        send(websocket.receive_json::<u8>());
        send(websocket.send_text("x"));
        send(websocket.send_json(&1));
        send(websocket.close(1000, ""));
        send(websocket.reject("no"));
        send(sender.send_json(&1));
        send(sender.close(1000, ""));
        send(group.send_text("x"));
        send(group.members());
        send(client.connect("/"));
    }
    fn of_app(app: App, listener: tokio::net::TcpListener) {
        send(app.serve(listener));
        send(nexios::client::connect("ws://127.0.0.1"));
    }
    let _ = (of_websocket, of_app);
}

#[test]
fn close_codes_are_numbers_that_compare() {
    let code: CloseCode = 1008.into();
    assert_eq!(code, CloseCode::POLICY_VIOLATION);
    assert_eq!(u16::from(code), 1008);
    let _: fn(&mut WebSocket) = |websocket| drop(websocket.close(CloseCode::GOING_AWAY, String::from("owned")));
    let _: fn(&mut WebSocket) = |websocket| drop(websocket.close(1000, Utf8Bytes::from("shared")));
}

#[test]
fn texts_compare_with_strings_both_ways_round() {
    let text = Utf8Bytes::from("hello");
    let owned = String::from("hello");
    assert!(text == "hello" && text == *"hello" && text == owned);
    assert!("hello" == text && *"hello" == text && owned == text);
    assert_eq!(text.to_string(), owned);
    assert_eq!(Utf8Bytes::from(owned), text);
    let text: &str = &text;
    assert_eq!(text.len(), 5);
}

#[test]
fn errors_come_from_what_a_program_has() {
    fn io() -> nexios::Result {
        std::fs::read("/nonexistent/file")?;
        Ok(())
    }
    fn boxed() -> nexios::Result {
        let error: Box<dyn StdError + Send + Sync> = "boxed".into();
        Err(error)?
    }
    fn anyhow_and_back() -> anyhow::Result<()> {
        boxed()?;
        Ok(())
    }
    assert!(matches!(io(), Err(Error::Io(_))));
    assert!(matches!(boxed(), Err(Error::Other(_))));
    assert_eq!(anyhow_and_back().unwrap_err().to_string(), "boxed");
    assert_eq!(Error::other("text").to_string(), "text");
    assert_eq!(Error::other(ValueError).to_string(), "Simulated error");
    let back = Error::other(Error::other(ValueError));
    assert!(matches!(&back, Error::Other(error) if error.is::<ValueError>()), "wrapped twice: {back:?}");
}

#[test]
fn a_result_has_a_value_and_an_error_type_by_default() {
    let _: nexios::Result = Ok(());
    let _: nexios::Result<u8> = Ok(1);
    let _: nexios::Result<u8, String> = Ok(1);
}

#[test]
fn an_endpoint_receives_each_kind_of_message() {
    fn from_message<T: FromMessage>() {}
    from_message::<Utf8Bytes>();
    from_message::<Bytes>();
    from_message::<Json<Vec<u8>>>();
    from_message::<Message>();
}

#[tokio::test]
async fn a_handler_is_any_function_or_closure_of_the_shape() {
    let greeting = String::from("hello");
    let plain = greeting.clone();
    #[expect(clippy::manual_async_fn, reason = "that form is a handler as well")]
    fn returns_a_future(mut websocket: WebSocket) -> impl Future<Output = nexios::Result> + Send {
        async move {
            websocket.accept().await?;
            websocket.send_text("hello").await
        }
    }
    fn returns_a_box(websocket: WebSocket) -> std::pin::Pin<Box<dyn Future<Output = nexios::Result> + Send>> {
        Box::pin(returns_a_future(websocket))
    }
    let app = App::new()
        .websocket_route("/1", returns_a_future)
        .websocket_route("/2", returns_a_box)
        .websocket_route("/3", move |mut websocket: WebSocket| async move {
            websocket.accept().await?;
            websocket.send_text(plain).await
        })
        .websocket_route("/4", async move |mut websocket: WebSocket| -> anyhow::Result<()> {
            websocket.accept().await?;
            websocket.send_text(greeting).await?;
            Ok(())
        })
        .websocket_route("/5", |mut websocket: WebSocket, Query(query): Query<Vec<(String, String)>>| async move {
            assert!(query.is_empty());
            websocket.accept().await.unwrap();
            websocket.send_text("hello").await.unwrap();
        });
    let client = TestClient::new(app);
    for path in ["/1", "/2", "/3", "/4", "/5", "/4", "/3"] {
        let mut websocket = client.connect(path).await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), "hello", "{path}");
    }
}

#[cfg(feature = "macros")]
#[tokio::test]
async fn the_prelude_has_every_name_of_the_contract() {
    use nexios::prelude::{
        Accept, App, Bytes, CloseCode, Config, Error, Extension, FromMessage, FromRef, FromRequestParts, Group, Groups,
        HeaderMap, Json, Limits, Message, Next, Path, Query, Sender, State, Utf8Bytes, WebSocket, WebSocketDisconnect,
        WebSocketEndpoint, WebSocketMiddleware, WebSocketRoute, WsRouter, websocket_route,
    };
    #[websocket_route("/all")]
    async fn all(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept_with(Accept::new()).await
    }
    fn bounds<A: FromMessage, B: FromRequestParts<()>, C: FromRef<()>, D: WebSocketEndpoint, E: WebSocketMiddleware>() {
    }
    let _ = bounds::<Json<u8>, HeaderMap, (), WebSocketController, AuthMiddleware>;
    type Types = (Bytes, CloseCode, Config, Error, Extension<u8>, Group, Groups, Limits, Message, Next, Path<u8>);
    type More = (Query<u8>, Sender, State<u8>, Utf8Bytes, WebSocketDisconnect, WebSocketRoute, WsRouter);
    let _ = (std::any::type_name::<Types>(), std::any::type_name::<More>());
    TestClient::new(App::new().add_ws_route(all)).connect("/all").await.unwrap();
}
