//! Routes, routers in routers, and HTTP beside them.

use axum::routing::{get, post};
use http::{Request, StatusCode};
use nexios::prelude::*;
use nexios::testing::TestClient;

use crate::outcome::status;
use crate::programs::echo;

async fn path(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let path = websocket.uri().path().to_owned();
    websocket.send_text(path).await
}

async fn reaches(client: &TestClient, path: &str) {
    let mut websocket = client.connect(path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(websocket.receive_text().await.unwrap(), path);
}

#[tokio::test]
async fn a_router_is_mounted_under_its_own_paths_or_a_prefix() {
    let router = || WsRouter::new().ws_route("/chat", path).ws_route("/notifications", path);
    let client = TestClient::new(App::new().mount_ws_router(router()).mount_ws_router_at("/api", router()));
    for path in ["/chat", "/notifications", "/api/chat", "/api/notifications"] {
        reaches(&client, path).await;
    }
    assert_eq!(status(client.connect("/api").await), 404);
}

#[tokio::test]
async fn routers_nest_in_routers() {
    let inner = WsRouter::new().ws_route("/leaf", path).ws_route("/", path);
    let middle = WsRouter::new().mount_ws_router_at("/inner", inner).ws_route("/leaf", path);
    let outer = WsRouter::new().mount_ws_router_at("/middle/", middle);
    let client = TestClient::new(App::new().mount_ws_router_at("/outer", outer));
    for path in ["/outer/middle/inner/leaf", "/outer/middle/leaf", "/outer/middle/inner"] {
        reaches(&client, path).await;
    }
}

#[tokio::test]
async fn a_prefix_may_have_parameters() {
    async fn handler(mut websocket: WebSocket, Path((room, seat)): Path<(String, String)>) -> nexios::Result {
        websocket.accept().await?;
        websocket.send_text(format!("{room} {seat}")).await
    }
    let router = WsRouter::new().ws_route("/seats/{seat}", handler);
    let client = TestClient::new(App::new().mount_ws_router_at("/rooms/{room}", router));
    let mut websocket = client.connect("/rooms/lobby/seats/7").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "lobby 7");
}

#[tokio::test]
async fn a_route_at_the_root_works() {
    let client = TestClient::new(App::new().websocket_route("/", path));
    reaches(&client, "/").await;
}

#[tokio::test]
async fn http_is_served_beside_the_websockets() {
    let http = axum::Router::new()
        .route("/", get(async || "the page"))
        .route("/api", post(async |body: String| format!("got {body}")));
    let more = axum::Router::new().route("/more", get(async || "more"));
    let client = TestClient::new(App::new().websocket_route("/ws", path).http(http).http(more));
    reaches(&client, "/ws").await;
    let page = client.get("/").await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(axum::body::to_bytes(page.into_body(), 100).await.unwrap(), "the page");
    assert_eq!(client.get("/more").await.unwrap().status(), 200);
    let request = Request::post("/api").header("host", "test").body("hello".into()).unwrap();
    let answer = client.http(request).await.unwrap();
    assert_eq!(axum::body::to_bytes(answer.into_body(), 100).await.unwrap(), "got hello");
}

#[tokio::test]
async fn a_fallback_of_the_http_side_answers_what_nobody_else_does() {
    let http = axum::Router::new().fallback(async || (StatusCode::NOT_FOUND, "our own page"));
    let client = TestClient::new(App::new().websocket_route("/ws", path).http(http));
    reaches(&client, "/ws").await;
    let answer = client.get("/nowhere").await.unwrap();
    assert_eq!(axum::body::to_bytes(answer.into_body(), 100).await.unwrap(), "our own page");
}

#[tokio::test]
async fn a_tower_layer_is_around_http_and_handshakes() {
    use tower_http::set_header::SetResponseHeaderLayer;
    let name = http::HeaderName::from_static("x-served-by");
    let layer = SetResponseHeaderLayer::overriding(name, http::HeaderValue::from_static("nexios"));
    let http = axum::Router::new().route("/", get(async || "the page"));
    let client = TestClient::new(App::new().layer(layer).websocket_route("/ws", path).http(http));
    let websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.headers()["x-served-by"], "nexios");
    assert_eq!(client.get("/").await.unwrap().headers()["x-served-by"], "nexios");
}

#[tokio::test]
async fn a_layer_may_refuse_a_handshake_before_any_handler() {
    let guard = axum::middleware::from_fn(async |request: axum::extract::Request, next: axum::middleware::Next| {
        if request.headers().contains_key("x-pass") {
            next.run(request).await
        } else {
            axum::response::IntoResponse::into_response(StatusCode::PAYMENT_REQUIRED)
        }
    });
    let client = TestClient::new(App::new().websocket_route("/ws", echo).layer(guard));
    assert_eq!(status(client.connect("/ws").await), 402);
    let mut websocket = client.request("/ws").header("x-pass", "1").connect().await.unwrap();
    websocket.send_text("through the layer").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "through the layer");
}

#[tokio::test]
#[should_panic(expected = "/ws")]
async fn two_routes_with_one_path_are_a_mistake_that_is_named() {
    let _ = TestClient::new(App::new().websocket_route("/ws", path).websocket_route("/ws", echo));
}

#[tokio::test]
async fn a_clients_query_and_fragment_do_not_disturb_the_route() {
    let client = TestClient::new(App::new().websocket_route("/ws", path));
    let mut websocket = client.connect("/ws?x=/other&y=%2F").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "/ws");
}
