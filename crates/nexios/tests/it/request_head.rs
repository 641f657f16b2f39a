//! What a `WebSocket` shows of its request, before it is accepted and after.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, NestedPath, OriginalUri, RawPathParams};
use http::request::Parts;
use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::net::TcpListener;

use crate::serving::serve;

/// All that can be read of a request.
#[derive(Debug, PartialEq)]
struct Seen {
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    query: Vec<(String, String)>,
    path: Vec<(String, String)>,
    subprotocols: Vec<String>,
    peer: Option<SocketAddr>,
    extensions: usize,
    layer: Option<Layer>,
    middleware: Option<Middleware>,
    extracted: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Layer(&'static str);

#[derive(Clone, Debug, PartialEq)]
struct Middleware(u32);

fn owned<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn see(websocket: &mut WebSocket) -> Seen {
    Seen {
        line: format!("{:?} {websocket:?}", websocket.uri()),
        headers: websocket
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        query: owned(websocket.query_params().iter()),
        path: owned(websocket.path_params().iter()),
        subprotocols: websocket.subprotocols().map(str::to_owned).collect(),
        peer: websocket.peer_addr(),
        extensions: websocket.extensions().len(),
        layer: websocket.extensions().get().cloned(),
        middleware: websocket.extensions().get().cloned(),
        extracted: extracted(websocket).await,
    }
}

/// What extractors say, values and rejections alike.
async fn extracted(websocket: &mut WebSocket) -> Vec<String> {
    let parts: Parts = websocket.extract(&()).await.unwrap();
    vec![
        format!("{} {:?} {}", parts.method, parts.version, parts.uri),
        format!("{:?}", websocket.extract::<OriginalUri, ()>(&()).await),
        format!("{:?}", websocket.extract::<MatchedPath, ()>(&()).await.map_err(|error| error.to_string())),
        format!("{:?}", websocket.extract::<NestedPath, ()>(&()).await.map_err(|error| error.to_string())),
        format!("{:?}", websocket.extract::<ConnectInfo<SocketAddr>, ()>(&()).await.map_err(|error| error.to_string())),
        format!("{:?}", websocket.extract::<RawPathParams, ()>(&()).await.map_err(|error| error.to_string())),
        format!("{:?}", websocket.extract::<Path<()>, ()>(&()).await.map_err(|error| error.to_string())),
        format!("{:?}", websocket.extract::<Path<String>, ()>(&()).await.map_err(|error| error.to_string())),
        format!("{:?}", sorted(websocket.extract::<Path<HashMap<String, String>>, ()>(&()).await.ok())),
        format!("{:?}", websocket.extract::<Groups, ()>(&()).await),
        format!("{:?}", websocket.extract::<State<u8>, u8>(&7).await),
    ]
}

fn sorted(map: Option<Path<HashMap<String, String>>>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = map.into_iter().flat_map(|Path(map)| map).collect();
    pairs.sort();
    pairs
}

/// Compares before and after, and says what was seen.
async fn compare(mut websocket: WebSocket) -> nexios::Result {
    let before = see(&mut websocket).await;
    websocket.accept().await?;
    for _ in 0..2 {
        assert_eq!(see(&mut websocket).await, before);
    }
    websocket.send_text(format!("{before:#?}")).await
}

/// As above, without extractors before `accept`, which make everything whole: each accessor is the first to ask.
async fn accept_first(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let after = see(&mut websocket).await;
    assert_eq!(see(&mut websocket).await, after);
    websocket.send_text(format!("{after:#?}")).await
}

async fn mark(mut websocket: WebSocket, next: Next) -> nexios::Result {
    websocket.extensions_mut().insert(Middleware(7));
    next.run(websocket).await
}

fn app() -> App {
    let routes = |router: WsRouter, prefix: &str| {
        router
            .ws_route(format!("{prefix}/compare"), compare)
            .ws_route(format!("{prefix}/compare/{{room}}/{{*rest}}"), compare)
            .ws_route(format!("{prefix}/first"), accept_first)
            .ws_route(format!("{prefix}/first/{{room}}/{{*rest}}"), accept_first)
    };
    let plain = routes(WsRouter::new(), "/plain");
    let marked = routes(WsRouter::new(), "/marked").add_ws_middleware(mark);
    App::new().mount_ws_router(plain).mount_ws_router(marked)
}

const PATHS: [&str; 6] = [
    "?x=1&x=a%20b&flag",
    "",
    "?",
    "/lobby/a/b?x=%2f",
    "/K%C3%BCche%20%2F/deep/er/",
    // No UTF-8: `Path` rejects it.
    "/%ff/x",
];

async fn connect(url: String) -> String {
    let mut websocket = nexios::client::Connect::new(url)
        .subprotocol("v2")
        .subprotocol("v1")
        .header("cookie", "a=1")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-empty", "")
        .header("cookie", "b=2")
        .header("x-forwarded-for", "5.6.7.8")
        .header("x-bytes", &b"\xe9t\xe9"[..])
        .header("x-long", "v".repeat(3_000))
        .connect()
        .await
        .unwrap();
    websocket.receive_text().await.unwrap().to_string()
}

/// Asks both kinds of handlers; what they saw must be the same.
async fn check(base: &str) -> Vec<String> {
    let mut all = Vec::new();
    for kind in ["plain", "marked"] {
        for path in PATHS {
            let compared = connect(format!("{base}/{kind}/compare{path}")).await;
            let first = connect(format!("{base}/{kind}/first{path}")).await;
            assert_eq!(without_own(&first, "first"), without_own(&compared, "compare"));
            all.push(compared);
        }
    }
    all
}

/// Without what differs from one connection to the next: the route's name, the id, the port and the key.
fn without_own(seen: &str, route: &str) -> Vec<String> {
    let mut lines: Vec<_> = seen.lines().map(|line| line.replace(route, "route")).collect();
    lines.retain(|line| !line.contains("ConnectionId"));
    let key = lines.iter().position(|line| line.contains("\"sec-websocket-key\"")).unwrap();
    lines.drain(key..key + 26);
    lines.iter().map(|line| line.chars().filter(|char| !char.is_ascii_digit()).collect()).collect()
}

fn assert_shows(seen: &str, text: &str) {
    let seen: String = seen.lines().map(str::trim).collect();
    assert!(seen.contains(text), "{text} is not in {seen}");
}

#[tokio::test]
async fn all_of_a_request_reads_the_same_after_accept() {
    let running = serve(app()).await;
    let seen = check(&running.url("")).await;
    assert_shows(&seen[0], "ConnectInfo(127.0.0.1:");
    assert_shows(&seen[0], r#"MatchedPath(\"/plain/compare\")"#);
    assert_shows(&seen[3], r#"Ok(RawPathParams([(\"room\", "#);
    assert_shows(&seen[6], "Middleware(7,)");
}

#[tokio::test]
async fn all_of_a_request_reads_the_same_after_accept_when_nested_in_axum() {
    let inner = app().into_router().layer(Extension(Layer("a layer's")));
    let service: axum::Router = inner.clone();
    let router = axum::Router::new()
        .nest("/nested", inner.clone())
        .nest("/in/{outer}", axum::Router::new().nest("/deep", inner))
        .nest_service("/service", service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });

    let nested = check(&format!("ws://{address}/nested")).await;
    assert_shows(&nested[0], "OriginalUri(/nested/plain/compare?x=1");
    assert_shows(&nested[0], r#"NestedPath(\"/nested\")"#);
    assert_shows(&nested[0], r#"MatchedPath(\"/nested/plain/compare\")"#);
    assert_shows(&nested[0], "Layer(\"a layer's\",)");
    let deep = check(&format!("ws://{address}/in/out/deep")).await;
    assert_shows(&deep[0], r#"Ok(RawPathParams([(\"outer\", "#);
    check(&format!("ws://{address}/service")).await;
}

#[tokio::test]
async fn extractors_run_behind_a_middleware_that_has_accepted() {
    async fn early(mut websocket: WebSocket, next: Next) -> nexios::Result {
        websocket.accept().await?;
        websocket.extensions_mut().insert(Arc::<str>::from("left behind"));
        next.run(websocket).await
    }
    async fn handler(
        mut websocket: WebSocket,
        Path(room): Path<String>,
        headers: HeaderMap,
        Extension(left): Extension<Arc<str>>,
    ) -> nexios::Result {
        assert_eq!(websocket.headers(), &headers);
        assert_eq!(websocket.extensions().get(), Some(&left));
        let again = websocket.extract::<Path<String>, ()>(&()).await.unwrap().0;
        websocket.send_text(format!("{room} {again} {left}")).await
    }
    let client = TestClient::new(App::new().websocket_route("/{room}", handler).add_ws_middleware(early));
    let mut websocket = client.connect("/lobby").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "lobby lobby left behind");
}

#[tokio::test]
async fn what_is_put_into_the_extensions_after_accept_is_found_there() {
    async fn handler(mut websocket: WebSocket) -> nexios::Result {
        websocket.extensions_mut().insert(Middleware(1));
        websocket.accept().await?;
        websocket.extensions_mut().insert(Layer("late"));
        let Extension(late) = websocket.extract::<Extension<Layer>, ()>(&()).await.unwrap();
        let removed = websocket.extensions_mut().remove::<Middleware>();
        assert_eq!((late, removed), (Layer("late"), Some(Middleware(1))));
        assert_eq!(websocket.extensions().get::<Middleware>(), None);
        assert_eq!(websocket.uri(), "/ws");
        websocket.send_text("found").await
    }
    let mut websocket = TestClient::new(App::new().websocket_route("/ws", handler)).connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "found");
}

#[tokio::test]
async fn a_client_shows_what_it_asked_for_and_the_servers_headers() {
    let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket| {
        websocket.accept_with(Accept::new().header("x-server", "one").header("x-server", "two")).await?;
        websocket.receive().await.map(|_| ())
    });
    let running = serve(app).await;
    let websocket = nexios::client::connect(running.url("/ws?a=b")).await.unwrap();
    assert_eq!(websocket.uri().to_string(), running.url("/ws?a=b"));
    assert_eq!(websocket.query_params().get("a"), Some("b"));
    assert_eq!(websocket.peer_addr(), Some(running.address));
    assert_eq!(websocket.headers().get_all("x-server").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(websocket.headers()["upgrade"], "websocket");
}
