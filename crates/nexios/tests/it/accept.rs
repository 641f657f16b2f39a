//! What a handler may do before the handshake is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{AcceptError, StateError};
use tokio::sync::mpsc;

use crate::outcome::{refusal, status};
use crate::programs::app;
use crate::serving::{pause, serve, wait_for_connections, within};
use crate::wire::{Wire, request, text, upgrade_request};

/// An app of one handler on `/ws`.
fn client<F, R>(handler: F) -> TestClient
where
    F: FnOnce(WebSocket) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = nexios::Result> + Send + 'static,
{
    TestClient::new(app(handler))
}

#[track_caller]
fn state_error<T: std::fmt::Debug>(result: nexios::Result<T>) -> StateError {
    match result {
        Err(Error::State(error)) => error,
        other => panic!("expected a state error, got {other:?}"),
    }
}

#[tokio::test]
async fn the_handler_runs_before_the_handshake_is_answered() {
    let accepted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&accepted);
    let server = serve(app(async move |mut websocket: WebSocket| {
        pause(100).await;
        seen.store(true, Ordering::SeqCst);
        websocket.accept().await
    }))
    .await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws")).await;
    let head = wire.head().await;
    assert_eq!(head.status, 101);
    assert!(accepted.load(Ordering::SeqCst), "the answer came before the handler's decision");
}

#[tokio::test]
async fn close_before_accept_answers_403() {
    let client = client(async |mut websocket: WebSocket| websocket.close(1008, "Unauthorized").await);
    assert_eq!(status(client.connect("/ws").await), 403);
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn a_rejection_sends_its_status_headers_and_body() {
    let client = client(async |mut websocket: WebSocket| {
        let response = (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")], "who are you?");
        websocket.reject(response).await
    });
    let response = refusal(client.connect("/ws").await);
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(response.body(), "who are you?");
}

#[tokio::test]
async fn a_rejection_may_be_a_redirect() {
    let client = client(async |mut websocket: WebSocket| {
        websocket.reject(axum::response::Redirect::temporary("/other").into_response()).await
    });
    let response = refusal(client.connect("/ws").await);
    assert_eq!(response.status(), 307);
    assert_eq!(response.headers()["location"], "/other");
}

#[tokio::test]
async fn returning_without_an_answer_refuses_with_403() {
    let client = client(async |_websocket: WebSocket| Ok(()));
    assert_eq!(status(client.connect("/ws").await), 403);
}

#[tokio::test]
async fn an_error_or_a_panic_before_accept_refuses_with_403() {
    let failing = client(async |_websocket: WebSocket| Err(Error::other("no database")));
    assert_eq!(status(failing.connect("/ws").await), 403);
    let panicking = client(async |_websocket: WebSocket| panic!("before accept"));
    assert_eq!(status(panicking.connect("/ws").await), 403);
}

#[tokio::test]
async fn dropping_the_websocket_before_accept_refuses_at_once() {
    let client = client(async |websocket: WebSocket| {
        drop(websocket);
        pause(60_000).await;
        Ok(())
    });
    assert_eq!(status(within(client.connect("/ws")).await), 403);
}

#[tokio::test]
async fn a_second_accept_is_an_error_and_the_connection_goes_on() {
    let client = client(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        assert_eq!(state_error(websocket.accept().await), StateError::AlreadyAccepted);
        assert_eq!(state_error(websocket.accept_with(Accept::new()).await), StateError::AlreadyAccepted);
        websocket.send_text("alive").await
    });
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "alive");
}

#[tokio::test]
async fn rejecting_after_accept_is_an_error_and_the_connection_goes_on() {
    let client = client(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        assert_eq!(state_error(websocket.reject(StatusCode::IM_A_TEAPOT).await), StateError::AlreadyAccepted);
        websocket.send_text("alive").await
    });
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "alive");
}

#[tokio::test]
async fn after_a_refusal_every_further_call_is_an_error() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = client(async move |mut websocket: WebSocket| {
        websocket.close(1008, "").await?;
        let errors = [
            state_error(websocket.accept().await),
            state_error(websocket.close(1000, "").await),
            state_error(websocket.reject(StatusCode::OK).await),
            state_error(websocket.receive().await),
            state_error(websocket.receive_json::<String>().await),
            state_error(websocket.send_text("hello").await),
        ];
        seen.send(errors).unwrap();
        Ok(())
    });
    assert_eq!(status(client.connect("/ws").await), 403);
    assert_eq!(within(see.recv()).await.unwrap(), [StateError::Refused; 6]);
}

#[tokio::test]
async fn receiving_and_sending_before_accept_are_errors_that_say_so() {
    let client = client(async |mut websocket: WebSocket| {
        assert_eq!(state_error(websocket.receive().await), StateError::NotAccepted);
        assert_eq!(state_error(websocket.receive_text().await), StateError::NotAccepted);
        assert_eq!(state_error(websocket.receive_bytes().await), StateError::NotAccepted);
        assert_eq!(state_error(websocket.send_text("early").await), StateError::NotAccepted);
        assert_eq!(state_error(websocket.sender().send_text("early").await), StateError::NotAccepted);
        assert_eq!(state_error(websocket.groups().group("g").join(&websocket).await), StateError::NotAccepted);
        let first = websocket.messages().next().await;
        assert!(matches!(first, Some(Err(Error::State(_)))), "{first:?}");
        let text = websocket.receive_json::<String>().await.unwrap_err().to_string();
        assert!(text.contains("accept"), "{text}");
        websocket.accept().await?;
        websocket.send_text("alive").await
    });
    let mut websocket = within(client.connect("/ws")).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "alive");
}

#[tokio::test]
async fn accept_sends_the_chosen_subprotocol_and_headers() {
    let client = client(async |mut websocket: WebSocket| {
        let accept = Accept::new().subprotocol("v1").header("x-server", "one").header("x-server", "two");
        websocket.accept_with(accept).await
    });
    let websocket = client.request("/ws").subprotocol("v2").subprotocol("v1").connect().await.unwrap();
    assert_eq!(websocket.headers()["sec-websocket-protocol"], "v1");
    let servers: Vec<_> = websocket.headers().get_all("x-server").iter().collect();
    assert_eq!(servers, ["one", "two"]);
}

#[tokio::test]
async fn without_a_choice_no_subprotocol_is_answered() {
    let client = client(async |mut websocket: WebSocket| websocket.accept().await);
    let websocket = client.request("/ws").subprotocol("v1").connect().await.unwrap();
    assert!(!websocket.headers().contains_key("sec-websocket-protocol"));
}

#[tokio::test]
async fn the_clients_order_of_subprotocols_is_kept_over_several_lines() {
    let server = serve(app(async |mut websocket: WebSocket| {
        let offered: Vec<_> = websocket.subprotocols().map(str::to_owned).collect();
        websocket.accept().await?;
        websocket.send_json(&offered).await
    }))
    .await;
    let mut wire = Wire::connect(server.address).await;
    let lines = ["Sec-WebSocket-Protocol: zeta, alpha", "x: y", "sec-websocket-protocol:mid ,  beta"];
    wire.send(request("/ws", &lines)).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.text().await, r#"["zeta","alpha","mid","beta"]"#);
}

#[tokio::test]
async fn a_subprotocol_that_was_not_offered_is_refused_and_the_handshake_stays_open() {
    let client = client(async |mut websocket: WebSocket| {
        for name in ["v3", "V1", "v1, v2", "", "v1\r\nSet-Cookie: a=b"] {
            let error = websocket.accept_with(Accept::new().subprotocol(name)).await.unwrap_err();
            assert!(matches!(error, Error::Accept(AcceptError::SubprotocolNotOffered(_))), "{name:?}: {error}");
        }
        websocket.accept_with(Accept::new().subprotocol("v2")).await?;
        websocket.send_text("alive").await
    });
    let mut websocket = client.request("/ws").subprotocol("v1").subprotocol("v2").connect().await.unwrap();
    assert_eq!(websocket.headers()["sec-websocket-protocol"], "v2");
    assert_eq!(websocket.receive_text().await.unwrap(), "alive");
}

#[tokio::test]
async fn a_header_with_cr_lf_or_nul_is_refused_and_nothing_of_it_is_sent() {
    let server = serve(app(async |mut websocket: WebSocket| {
        for value in ["a\r\nSet-Cookie: a=b", "a\nb", "a\rb", "a\0b"] {
            let error = websocket.accept_with(Accept::new().header("x-evil", value)).await.unwrap_err();
            assert!(matches!(error, Error::Accept(AcceptError::InvalidHeaderValue(_))), "{value:?}: {error}");
        }
        for name in ["a b", "a\r\nb", "", "a:b"] {
            let error = websocket.accept_with(Accept::new().header(name, "value")).await.unwrap_err();
            assert!(matches!(error, Error::Accept(AcceptError::InvalidHeaderName(_))), "{name:?}: {error}");
        }
        websocket.accept().await?;
        websocket.send_text("alive").await
    }))
    .await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws")).await;
    let head = wire.head().await;
    assert_eq!(head.status, 101);
    assert!(!head.text.contains("evil") && !head.text.contains("cookie"), "{}", head.text);
    assert_eq!(wire.text().await, "alive");
}

#[tokio::test]
async fn a_bad_header_let_out_by_the_handler_is_no_101() {
    let client = client(async |mut websocket: WebSocket| {
        let value = websocket.query_params().get("value").unwrap_or_default().to_owned();
        websocket.accept_with(Accept::new().header("x-echo", value)).await
    });
    assert_eq!(status(client.connect("/ws?value=%0d%0aSet-Cookie:a=b").await), 403);
}

#[tokio::test]
async fn headers_of_the_handshake_itself_cannot_be_replaced() {
    let client = client(async |mut websocket: WebSocket| {
        let http = ["Connection", "upgrade", "content-length", "Transfer-Encoding", "te", "Trailer", "Keep-Alive"];
        let own = ["Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "sec-websocket-extensions", "Proxy-Connection"];
        for name in http.into_iter().chain(own) {
            let error = websocket.accept_with(Accept::new().header(name, "x")).await.unwrap_err();
            assert!(matches!(error, Error::Accept(AcceptError::ReservedHeader(_))), "{name}: {error}");
        }
        websocket.accept().await
    });
    client.connect("/ws").await.unwrap();
}

/// Tells that it was dropped.
struct TellsDrop(mpsc::UnboundedSender<()>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_handler_at_once() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |_: WebSocket| {
        let _guard = TellsDrop(seen.clone());
        std::future::pending::<nexios::Result>().await
    }))
    .await;
    for reset in [false, true] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(upgrade_request("/ws")).await;
        server.wait_for_connections(1).await;
        if reset {
            wire.abort();
        } else {
            drop(wire);
        }
        within(see.recv()).await.unwrap();
        server.wait_for_connections(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_decide_in_time_is_cancelled_and_the_client_told_503() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = client(async move |_: WebSocket| {
        let _guard = TellsDrop(seen.clone());
        std::future::pending::<nexios::Result>().await
    });
    assert_eq!(status(client.connect("/ws").await), 503);
    see.recv().await.unwrap();
}

#[tokio::test]
async fn an_accept_after_the_handler_has_returned_is_an_error_and_the_client_is_refused() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = client(async move |mut websocket: WebSocket| {
        let seen = seen.clone();
        tokio::spawn(async move {
            pause(50).await;
            seen.send(websocket.accept().await.is_err()).unwrap();
        });
        Ok(())
    });
    assert_eq!(status(within(client.connect("/ws")).await), 403);
    assert!(within(see.recv()).await.unwrap(), "accept was Ok on a connection that is over");
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn a_refused_client_may_come_again() {
    let client = client(async |mut websocket: WebSocket| {
        if websocket.query_params().get("token") != Some("secret-token") {
            return websocket.close(1008, "Unauthorized").await;
        }
        websocket.accept().await?;
        websocket.send_text("welcome").await
    });
    assert_eq!(status(client.connect("/ws").await), 403);
    assert_eq!(status(client.connect("/ws?token=wrong").await), 403);
    let mut websocket = client.connect("/ws?token=secret-token").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "welcome");
}

#[tokio::test]
async fn a_handler_that_deliberates_for_long_still_accepts() {
    let client = client(async |mut websocket: WebSocket| {
        pause(300).await;
        websocket.accept().await?;
        websocket.send_text("at last").await
    });
    let mut websocket = tokio::time::timeout(Duration::from_secs(5), client.connect("/ws")).await.unwrap().unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "at last");
}

#[tokio::test]
async fn a_sender_taken_before_accept_works_after_it() {
    let server = serve(app(async |mut websocket: WebSocket| {
        let sender = websocket.sender();
        assert!(!sender.is_open());
        assert!(matches!(sender.try_send("early"), Err(nexios::TrySendError::NotOpen(Message::Text(text))) if text == "early"));
        websocket.accept().await?;
        assert!(sender.is_open());
        sender.send_text("now").await
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    assert_eq!(wire.text().await, "now");
    wire.send(text("ignored")).await;
}
