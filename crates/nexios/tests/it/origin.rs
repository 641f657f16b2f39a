//! Which web pages may connect, and which are told 403.

use nexios::prelude::*;
use nexios::testing::{TestClient, TestRequest};
use nexios::{Origins, ServerConfig};
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{refusal, status};
use crate::serving::{Running, serve};

async fn accept(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await
}

fn app(origins: Origins) -> App {
    App::new().config(Config::new().origins(origins)).websocket_route("/ws", accept)
}

/// 101, or the status of the refusal.
async fn answer(request: TestRequest) -> u16 {
    match request.connect().await {
        Ok(_) => 101,
        refused => status(refused),
    }
}

#[tokio::test]
async fn twenty_origins_against_a_list_of_one() {
    let client = TestClient::new(app(Origins::only(["https://app.example"])));
    for (origin, expected) in [
        ("https://app.example", 101),
        ("HTTPS://APP.EXAMPLE", 101),
        ("https://app.example:443", 101),
        ("https://app.example.evil", 403),
        ("https://evilapp.example", 403),
        ("https://sub.app.example", 403),
        ("https://app.example.", 403),
        ("https://app.example:444", 403),
        ("https://app.example:80", 403),
        ("http://app.example", 403),
        ("null", 403),
        ("", 403),
        ("app.example", 403),
        ("//app.example", 403),
        ("https://app.example`x", 403),
        ("https://app.example\\x", 403),
        ("https://app.example$", 403),
        ("https://app.example/", 403),
        ("https://app.example@evil.example", 403),
        ("https://evil.example#https://app.example", 403),
        ("https://evil.example https://app.example", 403),
        ("https://app.example,https://evil.example", 403),
        ("https://[app.example]", 403),
        ("https://app%2eexample", 403),
        ("file://", 403),
    ] {
        assert_eq!(answer(client.request("/ws").header("origin", origin)).await, expected, "{origin}");
        // Cookies make no difference to a list.
        let request = client.request("/ws").header("origin", origin).header("cookie", "session=1");
        assert_eq!(answer(request).await, expected, "{origin} with cookies");
    }
}

#[tokio::test]
async fn two_origins_are_refused_whatever_is_allowed() {
    for origins in [Origins::any(), Origins::same_origin(), Origins::only(["http://test"]).or_absent()] {
        let client = TestClient::new(app(origins));
        let request = client.request("/ws").header("origin", "http://test").header("origin", "http://test");
        assert_eq!(answer(request).await, 403);
    }
}

#[tokio::test]
async fn an_absent_origin_and_null_are_allowed_where_the_list_says_so() {
    let list = || Origins::only(["https://app.example"]);
    for (origins, absent, null) in
        [(list(), 403, 403), (list().or_absent(), 101, 403), (list().or_null(), 403, 101), (Origins::any(), 101, 101)]
    {
        let client = TestClient::new(app(origins));
        assert_eq!(answer(client.request("/ws")).await, absent);
        assert_eq!(answer(client.request("/ws").header("origin", "null")).await, null);
    }
}

#[tokio::test]
async fn a_page_must_be_of_the_same_origin_with_cookies_and_without() {
    let client = TestClient::new(App::new().websocket_route("/ws", accept));
    let with_cookies = |origin: &'static str| client.request("/ws").header("cookie", "a=b").header("origin", origin);
    assert_eq!(answer(with_cookies("http://test")).await, 101);
    assert_eq!(answer(with_cookies("https://TEST")).await, 101, "TLS may end in front of the server");
    for origin in ["http://test:8080", "http://evil.example", "http://test.evil.example", "null", ""] {
        assert_eq!(answer(with_cookies(origin)).await, 403, "{origin}");
        assert_eq!(answer(client.request("/ws").header("origin", origin)).await, 403, "{origin} without cookies");
    }
    // A browser's cached credentials are no cookies.
    let basic = client.request("/ws").header("authorization", "Basic YWRtaW46YWRtaW4=");
    assert_eq!(answer(basic.header("origin", "http://evil.example")).await, 403);
    assert_eq!(answer(client.request("/ws").header("origin", "http://test")).await, 101, "without cookies");
    assert_eq!(answer(client.request("/ws").header("cookie", "a=b")).await, 101, "no browser");
}

#[tokio::test]
async fn a_route_has_origins_of_its_own() {
    let route = WebSocketRoute::new("/public", accept).config(Config::new().origins(Origins::any()));
    let client = TestClient::new(app(Origins::only(["https://app.example"])).add_ws_route(route));
    assert_eq!(answer(client.request("/public").header("origin", "https://evil.example")).await, 101);
    assert_eq!(answer(client.request("/ws").header("origin", "https://evil.example")).await, 403);
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_and_runs_no_handler() {
    let (logs, _guard) = Logs::capture();
    let app = App::new().websocket_route("/ws", async |_: WebSocket| -> nexios::Result { panic!("it is not to run") });
    let client = TestClient::new(app.config(Config::new().origins(Origins::only(["https://app.example"]))));
    let request = client.request("/ws?token=SECRET").header("origin", &b"https://evil\xff\x80.example"[..]);
    let response = refusal(request.connect().await);
    assert_eq!((response.status().as_u16(), &response.body()[..]), (403, &b"origin not allowed\n"[..]));
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(client.handle().connection_count(), 0);
    let lines = logs.at(Level::INFO).concat();
    assert!(lines.contains("origin=https://evil\\xff\\x80.example"), "{lines}");
    assert!(!logs.at(Level::TRACE).concat().contains("SECRET"));
}

#[tokio::test]
async fn opaque_origins_are_allowed_by_their_text() {
    for origin in ["file://", "null", "capacitor://localhost", "app://-", "chrome-extension://abc", "vscode-webview://"]
    {
        let client = TestClient::new(app(Origins::only([origin])));
        assert_eq!(answer(client.request("/ws").header("origin", origin)).await, 101, "{origin}");
        for other in ["https://app.example", "file:///", "file://home", "app://", "data:", ""] {
            if other != origin {
                assert_eq!(answer(client.request("/ws").header("origin", other)).await, 403, "{other} for {origin}");
            }
        }
    }
    let client = TestClient::new(app(Origins::same_origin()));
    for origin in ["file://", "null"] {
        assert_eq!(answer(client.request("/ws").header("origin", origin)).await, 403, "{origin}");
    }
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_line_for_each_second() {
    let (logs, _guard) = Logs::capture();
    let client = TestClient::new(app(Origins::only(["https://app.example"])));
    for _ in 0..50 {
        assert_eq!(answer(client.request("/ws").header("origin", "https://evil.example")).await, 403);
    }
    let refused =
        || logs.at(Level::INFO).into_iter().filter(|line| line.contains("origin not allowed")).collect::<Vec<_>>();
    for _ in 0..40 {
        let lines = refused();
        let counts =
            lines.iter().filter_map(|line| line.split("count=").nth(1)?.split(' ').next()?.parse::<u32>().ok());
        if counts.sum::<u32>() == 50 {
            assert!(lines.len() < 10, "{lines:?}");
            return;
        }
        crate::serving::pause(100).await;
    }
    panic!("{:?}", refused());
}

/// What a browser's page at an origin is told by a server that may stand behind a proxy.
async fn behind_proxy(server: &Running, proto: &str, origin: &str) -> u16 {
    let connect = nexios::client::Connect::new(server.url("/ws"));
    let connect = connect.header("x-forwarded-proto", proto).header("cookie", "a=b");
    match connect.header("origin", origin).connect().await {
        Ok(_) => 101,
        refused => status(refused),
    }
}

#[tokio::test]
async fn a_trusted_proxy_tells_the_scheme() {
    let app = || App::new().websocket_route("/ws", accept);
    let server = serve(app().server_config(ServerConfig::new().trusted_proxies(["127.0.0.0/8"]))).await;
    let (http, https) = (format!("http://{}", server.address), format!("https://{}", server.address));
    assert_eq!(behind_proxy(&server, "https", &https).await, 101);
    assert_eq!(behind_proxy(&server, "https", &http).await, 403);
    assert_eq!(behind_proxy(&server, "http", &https).await, 403);
    let untrusting = serve(app()).await;
    let http = format!("http://{}", untrusting.address);
    assert_eq!(behind_proxy(&untrusting, "https", &http).await, 101, "whoever says that is nobody");
}
