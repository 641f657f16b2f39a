//! Tokens: where they are found, and where they are never seen.

use axum::response::IntoResponse;
use nexios::auth::{Token, TokenSource, secret_eq};
use nexios::client::Connect;
use nexios::prelude::*;
use nexios::testing::{TestClient, TestRequest};
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{refusal, status};
use crate::serving::{pause, serve};
use crate::wire::{Wire, upgrade_request};

/// Tells the token that it finds, and the subprotocols that are left.
fn app(sources: impl IntoIterator<Item = TokenSource>) -> App {
    let sources: Vec<_> = sources.into_iter().collect();
    App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        let token = Token::take(&mut websocket, &sources);
        let left: Vec<_> = websocket.subprotocols().map(str::to_owned).collect();
        let accept = left.last().map_or(Accept::new(), |last| Accept::new().subprotocol(last));
        websocket.accept_with(accept).await?;
        websocket.send_json(&(token.as_ref().map(Token::expose), left)).await
    })
}

async fn found(request: TestRequest) -> (Option<String>, Vec<String>) {
    request.connect().await.unwrap().receive_json().await.unwrap()
}

#[tokio::test]
async fn each_source_finds_its_token() {
    let client = |source| TestClient::new(app([source]));
    let bearer = client(TokenSource::bearer());
    assert_eq!(found(bearer.request("/ws").header("authorization", "bearer abc")).await.0.as_deref(), Some("abc"));
    assert_eq!(found(bearer.request("/ws?token=abc").header("authorization", "Basic abc")).await.0, None);
    let query = client(TokenSource::query("token"));
    assert_eq!(found(query.request("/ws?a=1&token=a%2Bb&token=c")).await.0.as_deref(), Some("a+b"));
    assert_eq!(found(query.request("/ws?token=")).await.0, None);
    let cookie = client(TokenSource::cookie("session"));
    assert_eq!(found(cookie.request("/ws").header("cookie", "a=b; session=abc")).await.0.as_deref(), Some("abc"));
}

#[tokio::test]
async fn a_source_reads_what_its_standard_says_and_nothing_else() {
    let client = |source| TestClient::new(app([source]));
    let line = |bytes: &[u8]| http::HeaderValue::from_bytes(bytes).unwrap();
    let cookie = client(TokenSource::cookie("session"));
    for (sent, expected) in [
        (&b"other=\xc3\xa4; session=abc"[..], Some("abc")),
        (b"session=abc; other=\xff", Some("abc")),
        (b"session=\"abc\"", Some("abc")),
        (b"session=\"abc", None),
        (b"session=\xc3\xa4", None),
        (b"session=a b", None),
    ] {
        let shown = String::from_utf8_lossy(sent);
        assert_eq!(found(cookie.request("/ws").header("cookie", line(sent))).await.0.as_deref(), expected, "{shown}");
    }
    let bearer = client(TokenSource::bearer());
    for sent in [&b"Bearer a b"[..], b"Bearer a,b", b"Bearer \xc3\xa4", b"Bearer \"a\"", b"Bearer =", b"Bearer"] {
        assert_eq!(found(bearer.request("/ws").header("authorization", line(sent))).await.0, None);
    }
    let query = client(TokenSource::query("token"));
    for sent in ["/ws?token=%ff", "/ws?token=%zz", "/ws?token=%4", "/ws?token"] {
        assert_eq!(found(query.request(sent)).await.0, None, "{sent}");
    }
    // Raw UTF-8 is percent-encoded by the client, as by a browser.
    assert_eq!(found(query.request("/ws?token=ä")).await.0.as_deref(), Some("ä"));
}

#[tokio::test]
async fn a_token_that_is_offered_twice_is_not_left_in_the_offer() {
    let server = serve(app([TokenSource::subprotocol_prefix("token.")])).await;
    let mut wire = Wire::connect(server.address).await;
    let offer = "\r\nSec-WebSocket-Protocol: v1, token.abc\r\nSec-WebSocket-Protocol: token.abc\r\n\r\n";
    wire.send(upgrade_request("/ws").replace("\r\n\r\n", offer)).await;
    let head = wire.head().await;
    assert!(head.status == 101 && !head.text.contains("token.abc"), "{}", head.text);
    assert_eq!(wire.text().await, r#"["abc",["v1"]]"#);
}

#[tokio::test]
async fn a_token_among_the_subprotocols_is_taken_off_the_offer() {
    let check = async |source: TokenSource, offered: &[&str], token: Option<&str>, left: &[&str]| {
        let client = TestClient::new(app([source]));
        let request = offered.iter().fold(client.request("/ws"), |request, offer| request.subprotocol(*offer));
        let (found, rest) = found(request).await;
        assert_eq!((found.as_deref(), &rest.iter().map(String::as_str).collect::<Vec<_>>()[..]), (token, left));
    };
    let after = || TokenSource::subprotocol_after("bearer");
    check(after(), &["bearer", "abc"], Some("abc"), &["bearer"]).await;
    check(after(), &["v1", "bearer", "abc", "v2"], Some("abc"), &["v1", "bearer", "v2"]).await;
    check(after(), &["v1", "bearer"], None, &["v1", "bearer"]).await;
    let prefix = || TokenSource::subprotocol_prefix("token.");
    check(prefix(), &["v1", "token.abc"], Some("abc"), &["v1"]).await;
    check(prefix(), &["token.abc", "v1", "token.d"], Some("abc"), &["v1", "token.d"]).await;
    check(prefix(), &["v1"], None, &["v1"]).await;
}

#[tokio::test]
async fn a_token_that_is_the_only_subprotocol_cannot_be_sent_back() {
    let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        let token = Token::take(&mut websocket, &[TokenSource::subprotocol_prefix("token.")]).unwrap();
        assert_eq!((token.expose(), websocket.subprotocols().count()), ("abc", 0));
        assert!(!websocket.headers().contains_key("sec-websocket-protocol"));
        let error = websocket.accept_with(Accept::new().subprotocol("token.abc")).await.unwrap_err();
        assert!(matches!(error, Error::Accept(_)), "{error}");
        websocket.reject(StatusCode::IM_A_TEAPOT).await
    });
    let request = TestClient::new(app).request("/ws").subprotocol("token.abc");
    assert_eq!(status(request.connect().await), 418);
}

#[tokio::test]
async fn the_first_source_that_has_a_token_decides() {
    let client = TestClient::new(app([TokenSource::bearer(), TokenSource::query("token")]));
    let request = client.request("/ws?token=query").header("authorization", "Bearer header");
    assert_eq!(found(request).await.0.as_deref(), Some("header"));
    assert_eq!(found(client.request("/ws?token=query").header("authorization", "")).await.0.as_deref(), Some("query"));
}

#[tokio::test]
async fn the_extractor_answers_401_without_a_bearer_token() {
    let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket, token: Token| -> nexios::Result {
        assert!(secret_eq(token.expose(), "abc"));
        websocket.accept().await
    });
    let client = TestClient::new(app);
    let refused = refusal(client.connect("/ws").await);
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    client.request("/ws").header("authorization", "Bearer abc").connect().await.unwrap();
}

#[test]
fn a_token_is_not_shown() {
    let token = Token::new("SECRET");
    assert!(!format!("{token} {token:?} {:?}", Some(&token)).contains("SECRET"));
}

/// Connects in every way that can end, with a secret wherever there is a place for one.
#[tokio::test]
async fn no_log_has_a_token_in_it() {
    let (logs, _guard) = Logs::capture();
    let refuse = async |websocket: WebSocket, token: Option<Token>| -> nexios::Result {
        let _ = (websocket, token);
        Err(Error::other("refused"))
    };
    let panics = async |websocket: WebSocket| -> nexios::Result { panic!("{websocket:?}") };
    let app = app([TokenSource::bearer(), TokenSource::subprotocol_prefix("token.")])
        .websocket_route("/refuse", async move |websocket: WebSocket| refuse(websocket, None).await)
        .websocket_route("/panics", panics)
        .websocket_route("/error", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            // What a program prints when it looks for a mistake.
            let (query, headers) = (websocket.query_params(), websocket.headers());
            Err(Error::other(format!(
                "{websocket:?} {query:?} {:?}",
                (headers.get("authorization"), headers.get("cookie"))
            )))
        })
        .http(axum::Router::new().route("/page", axum::routing::get(async || "page".into_response())));
    let server = serve(app).await;
    for path in ["/ws", "/refuse", "/panics", "/error", "/page", "/nowhere"] {
        let url = format!("ws://{}{path}?token=SECRET", server.address);
        let connect = Connect::new(url).header("authorization", "Bearer SECRET").header("cookie", "session=SECRET");
        let connect = connect.subprotocol("v1").subprotocol("token.SECRET");
        if let Ok(mut websocket) = connect.connect().await {
            let _ = websocket.receive().await;
            let _ = websocket.close(1000, "").await;
        }
    }
    // Not HTTP, not a handshake, not a host.
    let _ = Connect::new(format!("ws://{}/ws\u{1}?token=SECRET", server.address)).connect().await;
    let error = Connect::new("ftp://user:SECRET@host/path?token=SECRET").connect().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    pause(100).await;
    let lines = logs.at(Level::TRACE).join("\n");
    assert!(lines.contains("handler failed"), "{lines}");
    assert!(!lines.contains("SECRET"), "{lines}");
}
