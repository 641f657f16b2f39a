//! `#[websocket_route]`.

use nexios::prelude::*;
use nexios::testing::TestClient;

/// A route with everything that a handler may take. This text stays its documentation.
#[websocket_route("/chat/{room}")]
async fn chat(mut websocket: WebSocket, Path(room): Path<String>) -> nexios::Result {
    websocket.accept().await?;
    websocket.send_text(format!("welcome to {room}")).await
}

#[derive(Clone)]
struct Db(&'static str);

#[websocket_route("/db")]
async fn with_state(mut websocket: WebSocket, State(db): State<Db>, headers: HeaderMap) -> anyhow::Result<()> {
    websocket.accept().await?;
    anyhow::ensure!(!headers.is_empty());
    websocket.send_text(db.0).await?;
    Ok(())
}

#[websocket_route("/unit")]
async fn returns_nothing(websocket: WebSocket) {
    let mut websocket = websocket;
    let _ = websocket.accept().await;
    let _ = websocket.send_text("unit").await;
}

mod elsewhere {
    #[nexios::websocket_route("/pub")]
    pub(crate) async fn public(mut websocket: nexios::WebSocket) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_text("public").await
    }

    #[nexios::websocket_route("/groups")]
    pub(super) async fn groups(mut websocket: nexios::WebSocket, groups: nexios::Groups) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_text(groups.len().to_string()).await
    }
}

async fn first_text(client: &TestClient, path: &str) -> String {
    let mut websocket = client.connect(path).await.unwrap();
    websocket.receive_text().await.unwrap().to_string()
}

#[tokio::test]
async fn a_function_with_the_attribute_is_a_route() {
    let app = App::new()
        .add_ws_route(chat)
        .add_ws_route(returns_nothing)
        .add_ws_route(elsewhere::public)
        .add_ws_route(elsewhere::groups);
    let client = TestClient::new(app);
    assert_eq!(first_text(&client, "/chat/lobby").await, "welcome to lobby");
    assert_eq!(first_text(&client, "/unit").await, "unit");
    assert_eq!(first_text(&client, "/pub").await, "public");
    assert_eq!(first_text(&client, "/groups").await, "0");
}

#[tokio::test]
async fn a_route_of_the_attribute_fits_every_state_that_has_what_it_takes() {
    let client = TestClient::new(App::with_state(Db("postgres")).add_ws_route(with_state).add_ws_route(chat));
    assert_eq!(first_text(&client, "/db").await, "postgres");
    assert_eq!(first_text(&client, "/chat/x").await, "welcome to x");
}

#[tokio::test]
async fn a_route_of_the_attribute_takes_middleware_and_goes_into_routers() {
    async fn guard(mut websocket: WebSocket, next: Next) -> nexios::Result {
        match websocket.query_params().get("token") {
            Some(_) => next.run(websocket).await,
            None => websocket.close(1008, "").await,
        }
    }
    let router = WsRouter::new().add_ws_route(chat().middleware(guard));
    let client = TestClient::new(App::new().mount_ws_router_at("/api", router));
    assert_eq!(crate::outcome::status(client.connect("/api/chat/a").await), 403);
    assert_eq!(first_text(&client, "/api/chat/a?token=1").await, "welcome to a");
    let route: WebSocketRoute = chat();
    assert_eq!(route.path(), "/chat/{room}");
}

#[derive(Clone)]
struct S;

#[websocket_route("/s")]
async fn takes_a_state_named_s(mut websocket: WebSocket, State(_state): State<S>) -> nexios::Result {
    websocket.accept().await?;
    websocket.send_text("state").await
}

#[tokio::test]
async fn a_state_may_have_any_name() {
    let client = TestClient::new(App::with_state(S).add_ws_route(takes_a_state_named_s));
    let mut websocket = client.connect("/s").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "state");
}

/// Names that a program may have as well as the attribute: each is the program's.
mod hygiene {
    use nexios::prelude::{State, WebSocket};

    pub(super) type Result = nexios::Result;

    async fn handler(mut websocket: WebSocket, text: &str) -> Result {
        websocket.accept().await?;
        websocket.send_text(text).await
    }

    async fn path(websocket: WebSocket, name: &str) -> Result {
        handler(websocket, name).await
    }

    #[nexios::websocket_route("/handler")]
    pub(super) async fn calls_handler(websocket: WebSocket) -> Result {
        handler(websocket, "handler").await
    }

    #[nexios::websocket_route("/path")]
    pub(super) async fn calls_path(websocket: WebSocket) -> Result {
        path(websocket, "path").await
    }

    #[derive(Clone)]
    pub(super) struct __State(pub(super) &'static str);

    #[nexios::websocket_route("/state")]
    pub(super) async fn takes_state(websocket: WebSocket, State(state): State<__State>) -> Result {
        let __State(text) = state;
        handler(websocket, text).await
    }

    /// Calls itself: the name inside is the handler's.
    #[nexios::websocket_route("/again")]
    pub(super) async fn again(websocket: WebSocket) -> Result {
        if websocket.query_params().get("inner").is_some() {
            return Box::pin(again(websocket)).await;
        }
        handler(websocket, "again").await
    }
}

#[tokio::test]
async fn every_name_in_a_handler_is_the_programs() {
    let app = App::with_state(hygiene::__State("state"));
    let app = app.add_ws_route(hygiene::calls_handler).add_ws_route(hygiene::calls_path);
    let client = TestClient::new(app.add_ws_route(hygiene::takes_state).add_ws_route(hygiene::again));
    for path in ["handler", "path", "state", "again"] {
        assert_eq!(first_text(&client, &format!("/{path}")).await, path);
    }
}

/// As a crate that does without any prelude.
mod bare {
    #![no_implicit_prelude]

    #[::nexios::websocket_route("/bare")]
    pub(super) async fn bare(mut websocket: ::nexios::WebSocket) -> ::nexios::Result {
        websocket.accept().await?;
        websocket.send_text("bare").await
    }
}

/// As a crate that knows this one by another name.
mod renamed {
    use nexios as nx;

    #[nx::websocket_route("/path", crate = nx)]
    pub(super) async fn by_path(mut websocket: nx::WebSocket) -> nx::Result {
        websocket.accept().await?;
        websocket.send_text("path").await
    }

    #[nx::websocket_route("/text", crate = "self::nx")]
    pub(super) async fn by_text(mut websocket: nx::WebSocket) -> nx::Result {
        websocket.accept().await?;
        websocket.send_text("text").await
    }
}

#[tokio::test]
async fn the_attribute_needs_neither_prelude_nor_the_name_of_the_crate() {
    let app = App::new().add_ws_route(bare::bare);
    let client = TestClient::new(app.add_ws_route(renamed::by_path).add_ws_route(renamed::by_text));
    for path in ["bare", "path", "text"] {
        assert_eq!(first_text(&client, &format!("/{path}")).await, path);
    }
}

#[cfg(any())]
#[websocket_route("/absent")]
async fn absent(websocket: Nothing) {}

#[websocket_route("/absent")]
#[cfg(any())]
async fn absent_as_well(websocket: WebSocket, nothing: Nothing) {}
