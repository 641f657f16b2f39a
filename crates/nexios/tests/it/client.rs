//! The client: `nexios::client::connect`.

use std::time::Duration;

use http::StatusCode;
use nexios::ProtocolError;
use nexios::client::{Connect, ConnectError};
use nexios::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::outcome::{code, ending, refusal};
use crate::programs::echo;
use crate::serving::{pause, serve, within};

#[track_caller]
pub(crate) fn connect_error(result: nexios::Result<WebSocket>) -> ConnectError {
    match result {
        Err(Error::Connect(error)) => error,
        other => panic!("expected a connect error, got {other:?}"),
    }
}

/// A server of one answer, given in bytes.
pub(crate) async fn answers(answer: impl Into<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let answer = answer.into();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = crate::wire::Wire::new(stream);
        let request = wire.fill_request().await;
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap().trim().to_owned();
        let accept = nexios_proto::handshake::accept_key(&key);
        let marker = b"{accept}";
        let answer = match answer.windows(marker.len()).position(|window| window == marker) {
            Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + marker.len()..]].concat(),
            None => answer,
        };
        wire.stream.write_all(&answer).await.unwrap();
        pause(2_000).await;
    });
    url
}

pub(crate) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

#[tokio::test]
async fn a_client_sends_and_receives_every_type() {
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    assert_eq!(websocket.peer_addr(), Some(server.address));
    websocket.send_text("text").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "text");
    websocket.send_bytes(vec![1, 2]).await.unwrap();
    assert_eq!(websocket.receive_bytes().await.unwrap(), vec![1, 2]);
    websocket.send_json(&[1, 2]).await.unwrap();
    assert_eq!(websocket.receive_json::<Vec<u8>>().await.unwrap(), [1, 2]);
    let big = vec![7; 1024 * 1024];
    websocket.send_bytes(big.clone()).await.unwrap();
    assert!(within(websocket.receive_bytes()).await.unwrap() == big);
    websocket.close(1000, "done").await.unwrap();
    assert_eq!(ending(websocket.receive().await).ended_by(), EndedBy::Local);
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn a_dropped_client_closes_1000() {
    let (seen, mut see) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        seen.send(ending(websocket.receive().await)).unwrap();
        Ok(())
    }))
    .await;
    drop(nexios::client::connect(server.url("/ws")).await.unwrap());
    let end = within(see.recv()).await.unwrap();
    assert_eq!((u16::from(end.code()), end.ended_by()), (1000, EndedBy::Peer));
}

#[tokio::test]
async fn a_client_says_what_it_wants_and_learns_what_it_got() {
    let server = serve(App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        let offered: Vec<_> = websocket.subprotocols().map(str::to_owned).collect();
        let token = websocket.headers()["x-token"].to_str().unwrap().to_owned();
        let query = websocket.query_params().get("q").unwrap().to_owned();
        websocket.accept_with(Accept::new().subprotocol("b").header("x-answer", "yes")).await?;
        websocket.send_json(&(offered, token, query)).await
    }))
    .await;
    let connect = Connect::new(server.url("/ws?q=1")).subprotocol("a").subprotocol("b").header("x-token", "secret");
    let mut websocket = connect.connect().await.unwrap();
    assert_eq!(websocket.headers()["sec-websocket-protocol"], "b");
    assert_eq!(websocket.headers()["x-answer"], "yes");
    assert_eq!(websocket.receive_text().await.unwrap(), r#"[["a","b"],"secret","1"]"#);
}

#[tokio::test]
async fn a_refusal_shows_the_whole_response() {
    let server = serve(App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.reject((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "later")).await
    }))
    .await;
    let response = refusal(nexios::client::connect(server.url("/ws")).await);
    assert_eq!((response.status().as_u16(), &response.body()[..]), (429, &b"later"[..]));
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(connect_error(nexios::client::connect(server.url("/nowhere")).await).status().unwrap(), 404);
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_an_error_that_names_it() {
    for url in ["", "not a url", "ftp://127.0.0.1/", "ws://", "127.0.0.1:80", "/ws", "wss://"] {
        let error = connect_error(nexios::client::connect(url).await);
        assert!(matches!(error, ConnectError::Url(_)), "{url:?}: {error:?}");
    }
}

#[tokio::test]
async fn nobody_at_the_other_end_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(connect_error(nexios::client::connect(url).await), ConnectError::Io(_)));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new().handshake_timeout(Duration::from_millis(100));
    let connect = Connect::new(format!("ws://{}/", listener.local_addr().unwrap())).config(config);
    let error = connect_error(within(connect.connect()).await);
    assert!(matches!(error, ConnectError::Timeout(after) if after == Duration::from_millis(100)), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_proves_nothing_is_an_error() {
    let cases = [
        ("no key", format!("{SWITCH}\r\n")),
        ("another key", format!("{SWITCH}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")),
        (
            "a subprotocol nobody asked for",
            format!("{SWITCH}Sec-WebSocket-Accept: {{accept}}\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
        ),
        (
            "an extension nobody asked for",
            format!("{SWITCH}Sec-WebSocket-Accept: {{accept}}\r\nSec-WebSocket-Extensions: x-odd\r\n\r\n"),
        ),
    ];
    for (what, answer) in cases {
        let error = connect_error(within(nexios::client::connect(answers(answer).await)).await);
        assert!(matches!(error, ConnectError::Handshake(_)), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_message_in_the_same_segment_as_the_answer_is_received() {
    let mut answer = format!("{SWITCH}Sec-WebSocket-Accept: {{accept}}\r\n\r\n").into_bytes();
    answer.extend(b"\x01\x03one\x80\x04 two");
    let mut websocket = within(nexios::client::connect(answers(answer).await)).await.unwrap();
    assert_eq!(within(websocket.receive_text()).await.unwrap(), "one two");
}

#[tokio::test]
async fn a_masked_frame_of_a_server_is_a_protocol_error() {
    let mut answer = format!("{SWITCH}Sec-WebSocket-Accept: {{accept}}\r\n\r\n").into_bytes();
    answer.extend(crate::wire::text("masked"));
    let mut websocket = within(nexios::client::connect(answers(answer).await)).await.unwrap();
    let end = ending(within(websocket.receive()).await);
    assert_eq!((u16::from(end.code()), end.cause()), (1002, Cause::ProtocolError(ProtocolError::MaskedFrame)));
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_an_error() {
    let connect = Connect::new("ws://127.0.0.1:9/").header("x-evil", "a\r\nb: c");
    assert!(matches!(connect_error(connect.connect().await), ConnectError::Header | ConnectError::Io(_)));
    let connect = Connect::new("ws://127.0.0.1:9/").subprotocol("a\r\nb: c");
    assert!(connect.connect().await.is_err());
}

/// The head of the request that a client sends, or why it sends none.
async fn head_of(
    spoil: impl FnOnce(Connect) -> Connect,
    behind_host: &str,
    user: &str,
) -> Result<String, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{user}{}{behind_host}", listener.local_addr().unwrap());
    let asked = async {
        let mut wire = crate::wire::Wire::new(listener.accept().await.unwrap().0);
        wire.fill_request().await
    };
    tokio::select! {
        head = asked => Ok(head),
        connected = spoil(Connect::new(url)).connect() => Err(connect_error(connected)),
    }
}

fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let header = |line: &'a str| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().filter_map(header).map(|(_, value)| value.trim()).collect()
}

#[tokio::test]
async fn a_url_is_asked_for_as_a_browser_does() {
    for (behind_host, target) in
        [("", "/"), ("?q=1", "/?q=1"), ("/größe?ä", "/gr%C3%B6%C3%9Fe?%C3%A4"), ("/a%20b#fragment", "/a%20b")]
    {
        let head = within(head_of(|connect| connect, behind_host, "")).await.unwrap();
        assert!(head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{head}");
    }
}

#[tokio::test]
async fn a_user_in_the_url_is_sent_as_authorization_only() {
    let head = within(head_of(|connect| connect, "/", "user:p%40ss@")).await.unwrap();
    assert_eq!(lines(&head, "authorization"), ["Basic dXNlcjpwQHNz"]);
    assert!(lines(&head, "host")[0].starts_with("127.0.0.1:"), "{head}");
    assert!(!head.contains("user"), "{head}");
    // A header that is given takes its place.
    let bearer = |connect: Connect| connect.header("authorization", "Bearer abc");
    let head = within(head_of(bearer, "/", "user:pass@")).await.unwrap();
    assert_eq!(lines(&head, "authorization"), ["Bearer abc"]);
}

#[tokio::test]
async fn headers_of_the_handshake_are_refused_before_a_byte_is_sent() {
    let reserved = [
        "Host",
        "upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Whatever",
        "Content-Length",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Proxy-Connection",
    ];
    for name in reserved {
        let error = within(head_of(|connect| connect.header(name, "1"), "/", "")).await.unwrap_err();
        assert!(matches!(&error, ConnectError::ReservedHeader(named) if named.eq_ignore_ascii_case(name)), "{error:?}");
    }
    for (name, value) in [("x y", "1"), ("", "1"), ("x-a", "a\r\nb: c"), ("x-a", "a\0")] {
        let error = within(head_of(|connect| connect.header(name, value), "/", "")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Header), "{error:?}");
    }
    let twice = |connect: Connect| connect.header("x-a", "1").header("x-a", "2").header("origin", "https://a.example");
    let head = within(head_of(twice, "/", "")).await.unwrap();
    assert_eq!((lines(&head, "x-a"), lines(&head, "origin")), (vec!["1", "2"], vec!["https://a.example"]));
}

#[tokio::test]
async fn subprotocols_that_are_no_tokens_or_come_twice_are_refused_before_a_byte_is_sent() {
    for bad in ["", "a b", "a,b", "ä", "a/b", "a\r\nb: c", "chat"] {
        let offer = |connect: Connect| connect.subprotocol("chat").subprotocol(bad);
        let error = within(head_of(offer, "/", "")).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Subprotocol(name) if name == bad), "{bad:?}: {error:?}");
    }
    let head = within(head_of(|connect| connect.subprotocol("chat").subprotocol("Chat"), "/", "")).await.unwrap();
    assert_eq!(lines(&head, "sec-websocket-protocol"), ["chat, Chat"]);
}

#[tokio::test]
async fn a_client_connects_over_ipv6() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(App::new().websocket_route("/ws", echo).serve(listener));
    let mut websocket = nexios::client::connect(&url).await.unwrap();
    assert_eq!(websocket.uri().to_string(), url);
    websocket.send_text("six").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "six");
}

#[tokio::test]
async fn a_client_answers_pings_while_nobody_receives() {
    let config = Config::new().ping_interval(Duration::from_millis(50)).ping_timeout(Duration::from_millis(100));
    let server = serve(App::new().config(config).websocket_route("/ws", echo)).await;
    let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    pause(500).await;
    websocket.send_text("still here").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "still here");
}

#[tokio::test]
async fn a_client_sees_why_the_server_closed() {
    let server = serve(App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        websocket.receive_text().await.map(|_| ())
    }))
    .await;
    let mut websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    websocket.send_bytes(vec![1]).await.unwrap();
    assert_eq!(code(websocket.receive().await), 1003);
}

#[tokio::test]
async fn a_message_that_the_server_does_not_complete_ends_the_connection() {
    let begun = [format!("{SWITCH}Sec-WebSocket-Accept: {{accept}}\r\n\r\n").as_bytes(), &[0x02, 3], b"abc"].concat();
    let (soon, sooner) = (Duration::from_millis(200), Duration::from_millis(100));
    let config = Config::new().message_timeout(soon).close_timeout(sooner);
    let mut websocket = Connect::new(answers(begun).await).config(config).connect().await.unwrap();
    let end = ending(within(websocket.receive()).await);
    assert_eq!((end.cause(), end.ended_by(), u16::from(end.code())), (Cause::MessageTimeout, EndedBy::Local, 4408));
}
