//! axum's extractors as arguments of handlers.

use std::collections::HashMap;

use axum::extract::{MatchedPath, OptionalFromRequestParts, OriginalUri, RawQuery};
use http::StatusCode;
use http::request::Parts;
use nexios::prelude::*;
use nexios::testing::TestClient;
use serde::Deserialize;

use crate::outcome::{refusal, status};
use crate::serving::serve;

async fn answer(client: &TestClient, path: &str) -> String {
    let mut websocket = client.connect(path).await.unwrap();
    websocket.receive_text().await.unwrap().to_string()
}

async fn say(mut websocket: WebSocket, text: impl Into<Utf8Bytes>) -> nexios::Result {
    websocket.accept().await?;
    websocket.send_text(text).await
}

#[tokio::test]
async fn path_parameters_are_read_with_path() {
    async fn one(websocket: WebSocket, Path(room): Path<String>) -> nexios::Result {
        say(websocket, room).await
    }
    async fn two(websocket: WebSocket, Path((room, seat)): Path<(String, u8)>) -> nexios::Result {
        say(websocket, format!("{room} {seat}")).await
    }
    async fn rest(websocket: WebSocket, Path(rest): Path<HashMap<String, String>>) -> nexios::Result {
        say(websocket, rest["rest"].clone()).await
    }
    let app = App::new()
        .websocket_route("/chat/{room}", one)
        .websocket_route("/chat/{room}/{seat}", two)
        .websocket_route("/files/{*rest}", rest);
    let client = TestClient::new(app);
    assert_eq!(answer(&client, "/chat/lobby").await, "lobby");
    assert_eq!(answer(&client, "/chat/K%C3%BCche%20%2F").await, "Küche /");
    assert_eq!(answer(&client, "/chat/lobby/7").await, "lobby 7");
    assert_eq!(answer(&client, "/files/a/b/c").await, "a/b/c");
    assert_eq!(status(client.connect("/chat/lobby/seven").await), 400);
    assert_eq!(status(client.connect("/chat/").await), 404);
}

#[tokio::test]
async fn path_and_query_parameters_are_on_the_websocket_too() {
    async fn both(websocket: WebSocket) -> nexios::Result {
        let room = websocket.path_params().get("room").unwrap().to_owned();
        let token = websocket.query_params().get("token").unwrap_or("none").to_owned();
        assert_eq!(websocket.path_params().get("nothing"), None);
        assert_eq!(websocket.query_params().get("nothing"), None);
        say(websocket, format!("{room} {token}")).await
    }
    let client = TestClient::new(App::new().websocket_route("/chat/{room}", both));
    assert_eq!(answer(&client, "/chat/Caf%C3%A9?token=a%26b+c").await, "Café a&b c");
    assert_eq!(answer(&client, "/chat/x").await, "x none");
}

#[derive(Deserialize)]
struct Page {
    page: u32,
    size: Option<u32>,
}

#[tokio::test]
async fn query_reads_a_type_and_its_rejection_answers_the_handshake() {
    async fn handler(websocket: WebSocket, Query(page): Query<Page>) -> nexios::Result {
        say(websocket, format!("{} {:?}", page.page, page.size)).await
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler));
    assert_eq!(answer(&client, "/ws?page=3").await, "3 None");
    assert_eq!(answer(&client, "/ws?size=1&page=3").await, "3 Some(1)");
    let response = refusal(client.connect("/ws?page=three").await);
    assert_eq!(response.status(), 400);
    assert!(!response.body().is_empty());
}

#[derive(Clone)]
struct Db(&'static str);

#[derive(Clone)]
struct AppState {
    db: Db,
    number: u8,
}

impl FromRef<AppState> for Db {
    fn from_ref(state: &AppState) -> Self {
        state.db.clone()
    }
}

impl FromRef<AppState> for u8 {
    fn from_ref(state: &AppState) -> Self {
        state.number
    }
}

#[tokio::test]
async fn state_is_the_whole_or_a_part_of_what_the_app_has() {
    async fn whole(websocket: WebSocket, State(state): State<AppState>) -> nexios::Result {
        say(websocket, format!("{} {}", state.db.0, state.number)).await
    }
    async fn part(websocket: WebSocket, State(Db(name)): State<Db>, State(number): State<u8>) -> nexios::Result {
        say(websocket, format!("{number} {name}")).await
    }
    let router = WsRouter::new().ws_route("/part", part);
    let app = App::with_state(AppState { db: Db("postgres"), number: 7 })
        .websocket_route("/whole", whole)
        .mount_ws_router(router);
    let client = TestClient::new(app);
    assert_eq!(answer(&client, "/whole").await, "postgres 7");
    assert_eq!(answer(&client, "/part").await, "7 postgres");
}

#[tokio::test]
async fn headers_uri_and_method_are_those_of_the_handshake() {
    async fn handler(
        websocket: WebSocket,
        headers: HeaderMap,
        uri: http::Uri,
        method: http::Method,
        RawQuery(query): RawQuery,
        OriginalUri(original): OriginalUri,
    ) -> nexios::Result {
        assert_eq!(headers, *websocket.headers());
        assert_eq!(uri, *websocket.uri());
        assert_eq!(original.path(), "/ws");
        let agent = headers["user-agent"].to_str().unwrap().to_owned();
        say(websocket, format!("{method} {agent} {query:?}")).await
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler));
    let mut websocket = client.request("/ws?a=b").header("user-agent", "tests").connect().await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "GET tests Some(\"a=b\")");
}

#[tokio::test]
async fn the_matched_path_is_known() {
    async fn handler(websocket: WebSocket, path: MatchedPath) -> nexios::Result {
        say(websocket, path.as_str()).await
    }
    let router = WsRouter::new().ws_route("/{id}", handler);
    let client = TestClient::new(App::new().mount_ws_router_at("/users", router));
    assert_eq!(answer(&client, "/users/7").await, "/users/{id}");
}

#[tokio::test]
async fn extensions_of_a_tower_layer_reach_the_handler() {
    async fn handler(websocket: WebSocket, Extension(Db(name)): Extension<Db>) -> nexios::Result {
        say(websocket, name).await
    }
    let app = App::new().websocket_route("/ws", handler).layer(Extension(Db("from a layer")));
    assert_eq!(answer(&TestClient::new(app), "/ws").await, "from a layer");
    let app = App::new().websocket_route("/ws", handler);
    assert_eq!(status(TestClient::new(app).connect("/ws").await), 500);
}

/// A custom extractor, which rejects with a response of its own.
struct Token(String);

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = (StatusCode, [(&'static str, &'static str); 1], &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        tokio::task::yield_now().await;
        match parts.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some(token) => Ok(Self(token.to_owned())),
            None => Err((StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")], "who are you?")),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Token {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(<Self as FromRequestParts<S>>::from_request_parts(parts, state).await.ok())
    }
}

#[tokio::test]
async fn a_custom_extractor_works_and_its_rejection_is_the_answer() {
    async fn handler(websocket: WebSocket, Token(token): Token) -> nexios::Result {
        say(websocket, token).await
    }
    async fn optional(websocket: WebSocket, token: Option<Token>) -> nexios::Result {
        say(websocket, token.map_or("nobody".to_owned(), |token| token.0)).await
    }
    async fn fallible(
        websocket: WebSocket,
        token: Result<Token, <Token as FromRequestParts<()>>::Rejection>,
    ) -> nexios::Result {
        say(websocket, if token.is_ok() { "somebody" } else { "nobody" }).await
    }
    let app = App::new()
        .websocket_route("/ws", handler)
        .websocket_route("/optional", optional)
        .websocket_route("/fallible", fallible);
    let client = TestClient::new(app);
    let mut websocket = client.request("/ws").header("authorization", "Bearer abc").connect().await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "Bearer abc");
    let response = refusal(client.connect("/ws").await);
    assert_eq!((response.status().as_u16(), &response.body()[..]), (401, &b"who are you?"[..]));
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(answer(&client, "/optional").await, "nobody");
    assert_eq!(answer(&client, "/fallible").await, "nobody");
}

#[tokio::test]
async fn eight_extractors_are_not_too_many() {
    #[expect(clippy::too_many_arguments, reason = "as many as a handler may have")]
    async fn handler(
        websocket: WebSocket,
        Path(room): Path<String>,
        Query(page): Query<Page>,
        State(db): State<Db>,
        headers: HeaderMap,
        uri: http::Uri,
        method: http::Method,
        path: MatchedPath,
        groups: Groups,
    ) -> nexios::Result {
        assert!(!headers.is_empty() && groups.is_empty());
        say(websocket, format!("{room} {} {} {uri} {method} {}", page.page, db.0, path.as_str())).await
    }
    let client = TestClient::new(App::with_state(Db("db")).websocket_route("/{room}", handler));
    assert_eq!(answer(&client, "/a?page=1").await, "a 1 db /a?page=1 GET /{room}");
}

#[tokio::test]
async fn the_peers_address_is_known_over_a_socket() {
    async fn handler(
        websocket: WebSocket,
        axum::extract::ConnectInfo(address): axum::extract::ConnectInfo<std::net::SocketAddr>,
    ) -> nexios::Result {
        assert_eq!(websocket.peer_addr(), Some(address));
        say(websocket, address.to_string()).await
    }
    let server = serve(App::new().websocket_route("/ws", handler)).await;
    let mut wire = server.upgrade("/ws").await;
    let ours = wire.stream.local_addr().unwrap().to_string();
    assert_eq!(wire.text().await, ours);
}

#[tokio::test]
async fn an_extractor_can_be_run_by_hand() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        match websocket.extract::<Token, ()>(&()).await {
            Ok(Token(token)) => say(websocket, token).await,
            Err(rejection) => websocket.reject(rejection).await,
        }
    }
    let client = TestClient::new(App::new().websocket_route("/ws", handler));
    assert_eq!(status(client.connect("/ws").await), 401);
}
