//! Middleware: functions and types, on app, router and route, around the whole life of a connection.

use std::sync::{Arc, Mutex};

use http::StatusCode;
use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::sync::mpsc;

use crate::outcome::{code, refusal, status};
use crate::serving::{pause, serve, wait_for_connections, within};

/// What ran, in its order.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<String>>>);

impl Steps {
    fn add(&self, step: impl Into<String>) {
        self.0.lock().unwrap().push(step.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Middleware as a type that notes when it was entered and left.
struct Note {
    name: &'static str,
    steps: Steps,
}

impl WebSocketMiddleware for Note {
    async fn handle(&self, websocket: WebSocket, next: Next) -> nexios::Result {
        self.steps.add(format!("{} in", self.name));
        let result = next.run(websocket).await;
        self.steps.add(format!("{} out", self.name));
        result
    }
}

fn note(name: &'static str, steps: &Steps) -> Note {
    Note { name, steps: steps.clone() }
}

async fn accept(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    websocket.send_text("handled").await
}

async fn connect_and_finish(client: &TestClient, path: &str) {
    let mut websocket = client.connect(path).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "handled");
    websocket.receive().await.unwrap_err();
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn the_outermost_runs_first_app_router_nested_router_route() {
    let steps = Steps::default();
    let route =
        WebSocketRoute::new("/ws", accept).middleware(note("route 1", &steps)).middleware(note("route 2", &steps));
    let inner = WsRouter::new().add_ws_route(route).add_ws_middleware(note("inner", &steps));
    let outer = WsRouter::new()
        .add_ws_middleware(note("outer 1", &steps))
        .mount_ws_router_at("/inner", inner)
        .add_ws_middleware(note("outer 2", &steps));
    let app = App::new()
        .add_ws_middleware(note("app 1", &steps))
        .mount_ws_router_at("/outer", outer)
        .add_ws_middleware(note("app 2", &steps));
    connect_and_finish(&TestClient::new(app), "/outer/inner/ws").await;
    let order = ["app 1", "app 2", "outer 1", "outer 2", "inner", "route 1", "route 2"];
    let entered = order.iter().map(|name| format!("{name} in"));
    let left = order.iter().rev().map(|name| format!("{name} out"));
    assert_eq!(steps.take(), entered.chain(left).collect::<Vec<_>>());
}

#[tokio::test]
async fn middleware_is_for_all_routes_of_its_level_whether_added_before_or_after() {
    let steps = Steps::default();
    let router = WsRouter::new()
        .ws_route("/before", accept)
        .add_ws_middleware(note("router", &steps))
        .ws_route("/after", accept);
    let app = App::new()
        .websocket_route("/early", accept)
        .add_ws_middleware(note("app", &steps))
        .mount_ws_router(router)
        .websocket_route("/late", accept);
    let client = TestClient::new(app);
    for path in ["/early", "/late"] {
        connect_and_finish(&client, path).await;
        assert_eq!(steps.take(), ["app in", "app out"], "{path}");
    }
    for path in ["/before", "/after"] {
        connect_and_finish(&client, path).await;
        assert_eq!(steps.take(), ["app in", "router in", "router out", "app out"], "{path}");
    }
}

#[tokio::test]
async fn middleware_of_one_router_does_not_touch_its_neighbour() {
    let steps = Steps::default();
    let guarded = WsRouter::new().ws_route("/guarded", accept).add_ws_middleware(note("guard", &steps));
    let open = WsRouter::new().ws_route("/open", accept);
    let client = TestClient::new(App::new().mount_ws_router(guarded).mount_ws_router(open));
    connect_and_finish(&client, "/open").await;
    assert_eq!(steps.take(), Vec::<String>::new());
    connect_and_finish(&client, "/guarded").await;
    assert_eq!(steps.take().len(), 2);
}

async fn auth(websocket: WebSocket, call_next: Next) -> nexios::Result {
    if websocket.query_params().get("token") == Some("valid-token") {
        call_next.run(websocket).await
    } else {
        let mut websocket = websocket;
        websocket.close(1008, "Unauthorized").await
    }
}

#[tokio::test]
async fn a_middleware_that_closes_refuses_with_403() {
    let client = TestClient::new(App::new().websocket_route("/ws", accept).add_ws_middleware(auth));
    assert_eq!(status(client.connect("/ws").await), 403);
    connect_and_finish(&client, "/ws?token=valid-token").await;
}

#[tokio::test]
async fn a_middleware_may_reject_with_a_response() {
    async fn teapot(mut websocket: WebSocket, _next: Next) -> nexios::Result {
        websocket.reject((StatusCode::IM_A_TEAPOT, "short and stout")).await
    }
    let client = TestClient::new(App::new().websocket_route("/ws", accept).add_ws_middleware(teapot));
    let response = refusal(client.connect("/ws").await);
    assert_eq!((response.status().as_u16(), &response.body()[..]), (418, &b"short and stout"[..]));
}

#[tokio::test]
async fn a_middleware_that_never_calls_next_refuses_with_403() {
    async fn silent(_websocket: WebSocket, _next: Next) {}
    async fn keeps_it_waiting(websocket: WebSocket, next: Next) {
        drop(next);
        pause(20).await;
        drop(websocket);
    }
    let client = TestClient::new(App::new().websocket_route("/ws", accept).add_ws_middleware(silent));
    assert_eq!(status(client.connect("/ws").await), 403);
    let client = TestClient::new(App::new().websocket_route("/ws", accept).add_ws_middleware(keeps_it_waiting));
    assert_eq!(status(client.connect("/ws").await), 403);
}

#[tokio::test]
async fn a_plain_http_request_never_runs_middleware() {
    let steps = Steps::default();
    let client = TestClient::new(App::new().websocket_route("/ws", accept).add_ws_middleware(note("app", &steps)));
    assert_eq!(client.get("/ws").await.unwrap().status(), 426);
    assert_eq!(client.get("/nowhere").await.unwrap().status(), 404);
    assert_eq!(steps.take(), Vec::<String>::new());
}

#[derive(Clone)]
struct User(String);

#[tokio::test]
async fn what_a_middleware_adds_to_extensions_reaches_the_handler() {
    async fn identify(mut websocket: WebSocket, next: Next) -> nexios::Result {
        let name = websocket.query_params().get("name").unwrap_or("nobody").to_owned();
        websocket.extensions_mut().insert(User(name));
        next.run(websocket).await
    }
    async fn greet(mut websocket: WebSocket, Extension(user): Extension<User>) -> nexios::Result {
        assert_eq!(websocket.extensions().get::<User>().map(|user| &user.0), Some(&user.0));
        websocket.accept().await?;
        websocket.send_text(user.0).await
    }
    let client = TestClient::new(App::new().websocket_route("/ws", greet).add_ws_middleware(identify));
    let mut websocket = client.connect("/ws?name=Ada").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Ada");
}

#[derive(Clone)]
struct Tokens(Arc<Vec<&'static str>>);

#[derive(Clone)]
struct AppState {
    tokens: Tokens,
    steps: Steps,
}

impl FromRef<AppState> for Tokens {
    fn from_ref(state: &AppState) -> Self {
        state.tokens.clone()
    }
}

impl FromRef<AppState> for Steps {
    fn from_ref(state: &AppState) -> Self {
        state.steps.clone()
    }
}

#[tokio::test]
async fn state_and_extractors_reach_a_function_middleware() {
    async fn checked(
        mut websocket: WebSocket,
        State(tokens): State<Tokens>,
        headers: HeaderMap,
        Path(room): Path<String>,
        next: Next,
    ) -> nexios::Result {
        let token = headers.get("x-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
        if !tokens.0.contains(&token) || room == "secret" {
            return websocket.reject(StatusCode::UNAUTHORIZED).await;
        }
        next.run(websocket).await
    }
    async fn noted(websocket: WebSocket, State(steps): State<Steps>, next: Next) -> nexios::Result {
        steps.add("seen");
        next.run(websocket).await
    }
    let steps = Steps::default();
    let app = App::with_state(AppState { tokens: Tokens(Arc::new(vec!["one"])), steps: steps.clone() })
        .websocket_route("/rooms/{room}", accept)
        .add_ws_middleware(checked)
        .add_ws_middleware(noted);
    let client = TestClient::new(app);
    assert_eq!(status(client.connect("/rooms/a").await), 401);
    assert_eq!(status(client.request("/rooms/secret").header("x-token", "one").connect().await), 401);
    assert_eq!(steps.take(), Vec::<String>::new());
    client.request("/rooms/a").header("x-token", "one").connect().await.unwrap();
    assert_eq!(steps.take(), ["seen"]);
}

#[tokio::test]
async fn an_extractor_of_a_middleware_that_rejects_answers_the_handshake() {
    async fn needs(_websocket: WebSocket, Extension(User(_)): Extension<User>, _next: Next) {}
    let client = TestClient::new(App::new().websocket_route("/ws", accept).add_ws_middleware(needs));
    assert_eq!(status(client.connect("/ws").await), 500);
}

#[tokio::test]
async fn a_middleware_may_be_a_capturing_closure_with_an_error_of_its_own() {
    let steps = Steps::default();
    let noted = steps.clone();
    let closure = async move |websocket: WebSocket, next: Next| -> anyhow::Result<()> {
        noted.add("closure");
        next.run(websocket).await?;
        anyhow::bail!("after the handler");
    };
    let app = App::new().websocket_route("/ws", accept).add_ws_middleware(closure);
    let mut websocket = TestClient::new(app).connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "handled");
    assert_eq!(code(websocket.receive().await), 1011);
    assert_eq!(steps.take(), ["closure"]);
}

#[tokio::test]
async fn middleware_sees_how_the_connection_ended() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let watch = async move |websocket: WebSocket, next: Next| -> nexios::Result {
        let result = next.run(websocket).await;
        seen.send(match &result {
            Ok(()) => "ok".to_owned(),
            Err(Error::Disconnect(end)) => format!("disconnect {}", u16::from(end.code())),
            Err(Error::Panic(panic)) => format!("panic {}", panic.message()),
            Err(error) => format!("error {error}"),
        })
        .unwrap();
        result
    };
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        match &*websocket.receive_text().await? {
            "return" => Ok(()),
            "panic" => panic!("as asked"),
            text => Err(Error::other(text)),
        }
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler).add_ws_middleware(watch));
    for (text, expected, closed) in
        [("return", "ok", 1000), ("panic", "panic as asked", 1011), ("trouble", "error trouble", 1011)]
    {
        let mut websocket = client.connect("/ws").await.unwrap();
        websocket.send_text(text).await.unwrap();
        assert_eq!(within(see.recv()).await.unwrap(), expected);
        assert_eq!(code(websocket.receive().await), closed);
    }
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.close(4000, "").await.unwrap();
    assert_eq!(within(see.recv()).await.unwrap(), "disconnect 4000");
}

#[tokio::test]
async fn a_middleware_may_turn_a_failure_into_a_normal_end_or_the_other_way_round() {
    async fn forgive(websocket: WebSocket, next: Next) -> nexios::Result {
        let _ = next.run(websocket).await;
        Ok(())
    }
    async fn blame(websocket: WebSocket, next: Next) -> nexios::Result {
        next.run(websocket).await?;
        Err(Error::other("not good enough"))
    }
    async fn fail(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        Err(Error::other("handler"))
    }
    let seen = Steps::default();
    let errors = seen.clone();
    let app = App::new()
        .add_ws_route(WebSocketRoute::new("/forgiven", fail).middleware(forgive))
        .add_ws_route(WebSocketRoute::new("/blamed", accept).middleware(blame))
        .on_error(move |error| errors.add(error.to_string()));
    let client = TestClient::new(app);
    let mut websocket = client.connect("/forgiven").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1000);
    assert_eq!(seen.take(), Vec::<String>::new());
    let mut websocket = client.connect("/blamed").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "handled");
    assert_eq!(code(websocket.receive().await), 1011);
    assert_eq!(seen.take(), ["not good enough"]);
}

#[tokio::test]
async fn an_error_keeps_its_close_code_while_middleware_takes_its_time() {
    async fn slow(websocket: WebSocket, next: Next) -> nexios::Result {
        let result = next.run(websocket).await;
        pause(50).await;
        result
    }
    async fn fail(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        Err(Error::other("1011, please"))
    }
    async fn panics(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        panic!("1011, please")
    }
    let app = App::new().websocket_route("/fail", fail).websocket_route("/panic", panics).add_ws_middleware(slow);
    let client = TestClient::new(app);
    for path in ["/fail", "/panic"] {
        let mut websocket = client.connect(path).await.unwrap();
        assert_eq!(code(websocket.receive().await), 1011, "{path}");
    }
}

#[tokio::test]
async fn a_panic_inside_a_middleware_is_a_panic_to_those_around_it() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let watch = async move |websocket: WebSocket, next: Next| -> nexios::Result {
        let result = next.run(websocket).await;
        seen.send(matches!(&result, Err(Error::Panic(panic)) if panic.message() == "in the middle")).unwrap();
        result
    };
    async fn panics(_websocket: WebSocket, _next: Next) -> nexios::Result {
        panic!("in the middle")
    }
    let app = App::new().websocket_route("/ws", accept).add_ws_middleware(watch).add_ws_middleware(panics);
    assert_eq!(status(TestClient::new(app).connect("/ws").await), 403);
    assert!(within(see.recv()).await.unwrap());
}

#[tokio::test]
async fn a_panic_before_the_first_await_of_a_closure_is_caught_too() {
    fn panics_at_once(_websocket: WebSocket) -> std::future::Ready<nexios::Result> {
        panic!("not even a future")
    }
    let server = serve(App::new().websocket_route("/ws", panics_at_once).websocket_route("/ok", accept)).await;
    let mut wire = crate::wire::Wire::connect(server.address).await;
    wire.send(crate::wire::upgrade_request("/ws")).await;
    assert_eq!(wire.head().await.status, 403);
    server.wait_for_connections(0).await;
    server.upgrade("/ok").await;
}

#[tokio::test]
async fn a_middleware_may_accept_for_the_handler_and_talk_first() {
    async fn hello(mut websocket: WebSocket, next: Next) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_text("hello from the middleware").await?;
        next.run(websocket).await
    }
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        assert!(websocket.accept().await.is_err(), "it is accepted already");
        websocket.send_text("and from the handler").await
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler).add_ws_middleware(hello));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "hello from the middleware");
    assert_eq!(websocket.receive_text().await.unwrap(), "and from the handler");
}

#[tokio::test]
async fn an_extractor_that_rejects_after_a_middleware_accepted_ends_1011() {
    async fn early(mut websocket: WebSocket, next: Next) -> nexios::Result {
        websocket.accept().await?;
        next.run(websocket).await
    }
    async fn handler(_websocket: WebSocket, Extension(User(_)): Extension<User>) {}
    let client = TestClient::new(App::new().websocket_route("/ws", handler).add_ws_middleware(early));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1011);
}

#[tokio::test]
async fn a_middleware_may_limit_the_life_of_a_connection() {
    async fn at_most(websocket: WebSocket, next: Next) -> nexios::Result {
        let sender = websocket.sender();
        tokio::select! {
            result = next.run(websocket) => result,
            () = pause(50) => {
                let _ = sender.close(4001, "time is up").await;
                Ok(())
            }
        }
    }
    async fn forever(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        loop {
            websocket.receive().await?;
        }
    }
    let client = TestClient::new(App::new().websocket_route("/ws", forever).add_ws_middleware(at_most));
    let mut websocket = client.connect("/ws").await.unwrap();
    let end = crate::outcome::ending(within(websocket.receive()).await);
    // `next.run` is dropped with the select, and the websocket with it: the close that was asked for first decides.
    assert_eq!((u16::from(end.code()), end.reason()), (4001, "time is up"));
}
