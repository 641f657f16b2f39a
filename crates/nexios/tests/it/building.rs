//! What an app is built of, in whatever order; and requests of a [`TestClient`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get};
use http_body_util::BodyExt;
use nexios::prelude::*;
use nexios::testing::TestClient;
use tower::util::MapRequestLayer;

use crate::outcome::status;
use crate::programs::echo;

fn limited() -> GroupsConfig {
    GroupsConfig::new().each(GroupConfig::new().history(History::new()))
}

fn is_refused(app: App) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| app.groups_config(limited())));
    let refused = outcome.err().map(|panic| *panic.downcast_ref::<&str>().expect("a text"));
    assert!(refused.is_none_or(|text| text.contains("before the first call of groups()")), "{refused:?}");
    refused.is_some()
}

#[tokio::test]
async fn groups_config_after_groups_is_refused_whatever_became_of_the_handle() {
    let held = App::new();
    let handle = held.groups();
    assert!(is_refused(held));
    drop(handle);
    let dropped = App::new();
    drop(dropped.groups());
    assert!(is_refused(dropped));
    let used = App::new();
    used.groups().group("room").send_text("hello").await.unwrap();
    assert!(is_refused(used));
}

#[tokio::test]
async fn all_other_calls_may_come_in_any_order() {
    async fn members(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        groups.group("room").send_text("kept").await?;
        let kept = groups.group("room").history(None, 10).await?.publications.len();
        websocket.send_json(&kept).await?;
        websocket.receive().await.map(drop)
    }
    let one = App::new();
    let handle = one.handle();
    let one = one.websocket_route("/", members).groups_config(GroupsConfig::new()).groups_config(limited());
    let another = App::new().groups_config(limited()).websocket_route("/", members);
    let another_handle = another.handle();
    for (app, handle) in [(one, handle), (another, another_handle)] {
        let client = TestClient::new(app);
        let mut websocket = client.connect("/").await.unwrap();
        assert_eq!(websocket.receive_json::<usize>().await.unwrap(), 1);
        assert_eq!(handle.connection_count(), 1);
    }
}

fn without_version(mut request: Request) -> Request {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    if let Some(Ok(rest)) = target.strip_prefix("/v1").map(str::parse) {
        *request.uri_mut() = rest;
    }
    request
}

#[tokio::test]
async fn a_layer_runs_after_routing_and_one_before_it_may_rewrite_paths() {
    let app = || App::new().websocket_route("/ws", echo).http(axum::Router::new().route("/page", get(async || "page")));
    let after = TestClient::new(app().layer(MapRequestLayer::new(without_version)));
    assert_eq!(status(after.connect("/v1/ws").await), 404);
    let before = TestClient::new(app().layer_before_routing(MapRequestLayer::new(without_version)));
    for path in ["/ws", "/v1/ws"] {
        let mut websocket = before.connect(path).await.unwrap();
        websocket.send_text(path).await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), path);
    }
    assert_eq!(before.get("/v1/page").await.unwrap().status(), 200);
    assert_eq!(before.get("/v2/page").await.unwrap().status(), 404);
    assert_eq!(before.handle().connection_count(), 0);
}

/// Tells the host and the target that came.
async fn asked(request: Request) -> String {
    let hosts: Vec<_> = request.headers().get_all("host").iter().map(|host| host.to_str().unwrap()).collect();
    format!("{} {}", hosts.join(","), request.uri())
}

#[tokio::test]
async fn a_test_client_adds_a_host_where_there_is_none() {
    let routes = axum::Router::new().route("/", any(asked)).fallback(asked);
    let client = TestClient::new(App::new().http(routes));
    let said = async |request: Request| {
        let response = client.http(request).await.unwrap();
        assert_eq!(response.status(), 200);
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    assert_eq!(said(Request::post("/").body(Body::empty()).unwrap()).await, "test /");
    assert_eq!(
        said(Request::post("/").header("host", "one.example").body(Body::empty()).unwrap()).await,
        "one.example /"
    );
    let absolute = Request::post("http://two.example:8000/a").body(Body::empty()).unwrap();
    assert!(said(absolute).await.starts_with("two.example:8000 "));
    for (path, target) in [("/größe?ä", "/gr%C3%B6%C3%9Fe?%C3%A4"), ("?q=1", "/?q=1"), ("", "/")] {
        let response = client.get(path).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("test {target}"), "{path}");
    }
    client.get("no-slash").await.unwrap_err();
}

#[tokio::test]
async fn a_test_client_may_name_another_host_in_a_handshake() {
    let app = App::new().websocket_route("/", async |mut websocket: WebSocket| -> nexios::Result {
        let host = websocket.headers()["host"].to_str().map_err(Error::other)?.to_owned();
        websocket.accept().await?;
        websocket.send_text(host).await
    });
    let client = TestClient::new(app);
    for (request, host) in
        [(client.request("/"), "test"), (client.request("/").header("Host", "other.example"), "other.example")]
    {
        assert_eq!(request.connect().await.unwrap().receive_text().await.unwrap(), host);
    }
    assert!(client.request("/").header("connection", "close").connect().await.is_err());
    assert!(client.request("/").header("a b", "c").connect().await.is_err());
}
