//! How connections end: codes, deadlines, who did it and why.

use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{ProtocolError, WebSocketDisconnect};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{code, ending};
use crate::programs::{app, echo};
use crate::serving::{pause, pipe, serve, wait_for_connections, within};
use crate::wire::{BINARY, CLOSE, close, frame, text};

/// An app whose handler receives until the end, and where that end is told.
fn watched() -> (App, mpsc::UnboundedReceiver<WebSocketDisconnect>) {
    let (seen, see) = mpsc::unbounded_channel();
    let app = app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        loop {
            if let Err(error) = websocket.receive().await {
                seen.send(ending::<()>(Err(error))).unwrap();
                return Ok(());
            }
        }
    });
    (app, see)
}

#[tokio::test]
async fn returning_ok_closes_1000() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| websocket.accept().await));
    let mut websocket = client.connect("/ws").await.unwrap();
    let end = ending(websocket.receive().await);
    assert_eq!(u16::from(end.code()), 1000);
    assert_eq!(end.ended_by(), EndedBy::Peer);
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn returning_an_error_closes_1011_and_does_not_tell_the_peer_what_it_was() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        Err(Error::other("the password of the database is hunter2"))
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    let (code, reason) = wire.close_frame().await;
    assert_eq!(code, 1011);
    assert!(!reason.contains("hunter2"), "{reason}");
}

#[tokio::test]
async fn a_panic_closes_1011() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        panic!("a handler's own fault");
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1011);
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn dropping_the_websocket_closes_1000_while_the_handler_goes_on() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.send_text("goodbye").await?;
        drop(websocket);
        pause(60_000).await;
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "goodbye");
    assert_eq!(within(async { code(websocket.receive().await) }).await, 1000);
}

#[tokio::test]
async fn a_websocket_that_lives_in_another_task_ends_with_its_handler() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        tokio::spawn(async move {
            pause(60_000).await;
            drop(websocket);
        });
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(within(async { code(websocket.receive().await) }).await, 1000);
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn a_websocket_may_be_served_in_another_task_that_the_handler_waits_for() {
    for flavor in ["drop", "return"] {
        let client = TestClient::new(app(async move |mut websocket: WebSocket| {
            let served = tokio::spawn(async move {
                websocket.accept().await?;
                let text = websocket.receive_text().await?;
                websocket.send_text(format!("{text}!")).await
            });
            let result = served.await.map_err(Error::other)?;
            if flavor == "drop" {
                // Its end was sent when the task let go of it.
                pause(60_000).await;
            }
            result
        }));
        let mut websocket = within(client.connect("/ws")).await.unwrap();
        websocket.send_text("hello").await.unwrap();
        assert_eq!(within(websocket.receive_text()).await.unwrap(), "hello!");
        assert_eq!(within(async { code(websocket.receive().await) }).await, 1000);
    }
}

#[tokio::test]
async fn close_sends_code_and_reason_and_both_sides_know_who_did_it() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = TestClient::new(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.close(1008, "Unauthorized").await?;
        seen.send(ending(websocket.receive().await)).unwrap();
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    let theirs = ending(websocket.receive().await);
    assert_eq!((theirs.code(), theirs.reason()), (CloseCode::POLICY_VIOLATION, "Unauthorized"));
    assert_eq!((theirs.ended_by(), theirs.cause()), (EndedBy::Peer, Cause::Closed));
    let ours = within(see.recv()).await.unwrap();
    assert_eq!((ours.code(), ours.reason()), (CloseCode::POLICY_VIOLATION, "Unauthorized"));
    assert_eq!((ours.ended_by(), ours.cause()), (EndedBy::Local, Cause::Closed));
    assert_eq!(ours.received().map(nexios::CloseFrame::code), Some(CloseCode::POLICY_VIOLATION));
}

#[tokio::test]
async fn the_server_closes_the_socket_once_both_close_frames_are_there() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.close(4000, "").await
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    assert_eq!(wire.close_frame().await.0, 4000);
    wire.send(close(4000, "")).await;
    assert_eq!(wire.frame().await, None);
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code_and_the_socket_closed() {
    let (app, mut see) = watched();
    let server = serve(app).await;
    for sent in [1000_u16, 1001, 1008, 1011, 3000, 4999] {
        let mut wire = server.upgrade("/ws").await;
        wire.send(close(sent, "because")).await;
        assert_eq!(wire.close_frame().await.0, sent);
        assert_eq!(wire.frame().await, None, "the server closes first");
        let end = within(see.recv()).await.unwrap();
        assert_eq!((u16::from(end.code()), end.reason()), (sent, "because"));
        assert_eq!((end.ended_by(), end.cause()), (EndedBy::Peer, Cause::Closed));
        assert_eq!(end.is_normal(), sent <= 1001);
    }
}

#[tokio::test]
async fn a_close_frame_without_a_code_is_1005_and_answered_without_one() {
    let (app, mut see) = watched();
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(frame(CLOSE, "")).await;
    let answer = wire.frame().await.unwrap();
    assert_eq!((answer.opcode, answer.payload.len()), (CLOSE, 0));
    let end = within(see.recv()).await.unwrap();
    assert_eq!(end.code(), CloseCode::NO_STATUS);
    assert!(end.is_normal());
}

#[tokio::test]
async fn nothing_behind_a_close_frame_is_delivered() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        while let Some(message) = websocket.messages().next().await {
            seen.send(message?).unwrap();
        }
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([text("before"), close(1000, ""), text("after"), frame(0x9, "ping")].concat()).await;
    assert_eq!(wire.close_frame().await.0, 1000);
    assert_eq!(wire.frame().await, None);
    server.wait_for_connections(0).await;
    assert_eq!(see.recv().await, Some(Message::from("before")));
    drop(server);
    assert!(see.try_recv().is_err());
}

#[tokio::test]
async fn a_lost_connection_is_1006_and_not_normal() {
    let (app, mut see) = watched();
    let server = serve(app).await;
    for reset in [false, true] {
        let wire = server.upgrade("/ws").await;
        if reset {
            wire.abort();
        } else {
            drop(wire);
        }
        let end = within(see.recv()).await.unwrap();
        assert_eq!((u16::from(end.code()), end.reason()), (1006, ""));
        assert_eq!((end.ended_by(), end.cause()), (EndedBy::Peer, Cause::ConnectionLost));
        assert!(!end.is_normal() && end.received().is_none());
    }
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn a_protocol_error_says_what_it_was_and_that_this_side_ended_it() {
    let (app, mut see) = watched();
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([0x81, 0x01, b'x']).await;
    assert_eq!(wire.close_frame().await.0, 1002);
    let end = within(see.recv()).await.unwrap();
    assert_eq!(end.cause(), Cause::ProtocolError(ProtocolError::UnmaskedFrame));
    assert_eq!((u16::from(end.code()), end.ended_by()), (1002, EndedBy::Local));
    assert!(end.to_string().contains("not masked"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_the_close_frame_is_cut_off_after_5_s() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let (mut wire, _) = pipe(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let began = Instant::now();
        websocket.close(1008, "").await?;
        seen.send(began.elapsed()).unwrap();
        Ok(())
    }));
    wire.handshake("/ws").await;
    assert_eq!(wire.read_frame().await.unwrap().into_close().0, 1008);
    let waited = see.recv().await.unwrap();
    assert!((Duration::from_secs(5)..Duration::from_millis(5_200)).contains(&waited), "{waited:?}");
    assert_eq!(wire.read_frame().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_closing_deadline_is_a_setting() {
    let app = app(async |mut websocket: WebSocket| websocket.accept().await)
        .config(Config::new().close_timeout(Duration::from_millis(500)));
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let began = Instant::now();
    assert_eq!(wire.read_frame().await.unwrap().into_close().0, 1000);
    assert_eq!(wire.read_frame().await, None);
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_on_talking_instead_of_closing_is_cut_off_all_the_same() {
    let (mut wire, _) = pipe(app(async |mut websocket: WebSocket| websocket.accept().await));
    wire.handshake("/ws").await;
    let began = Instant::now();
    assert_eq!(wire.read_frame().await.unwrap().into_close().0, 1000);
    let (mut reader, mut writer) = tokio::io::split(wire.stream);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while writer.write_all(&text("still here")).await.is_ok() {
            pause(200).await;
        }
    });
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest).await;
    let waited = began.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_millis(5_500)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn what_the_peer_sent_before_it_saw_the_close_frame_does_not_disturb_the_end() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.close(4000, "").await
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([text("crossed"), frame(0x9, "ping"), text("the wire"), close(4000, "")].concat()).await;
    assert_eq!(wire.close_frame().await.0, 4000);
    assert_eq!(wire.frame().await, None, "nothing follows a close frame");
}

#[tokio::test]
async fn a_second_close_is_an_error() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = TestClient::new(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.close(4000, "first").await?;
        seen.send(ending(websocket.close(4001, "second").await)).unwrap();
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 4000);
    assert_eq!(within(see.recv()).await.unwrap().reason(), "first");
}

#[tokio::test]
async fn a_long_reason_is_cut_at_a_characters_end() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.close(3000, "ü".repeat(100)).await
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    assert_eq!(wire.close_frame().await, (3000, "ü".repeat(61)));
}

#[tokio::test]
async fn a_code_that_must_not_be_sent_is_not_sent() {
    for bad in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        let server = serve(app(async move |mut websocket: WebSocket| {
            websocket.accept().await?;
            websocket.close(bad, "reason").await
        }))
        .await;
        let mut wire = server.upgrade("/ws").await;
        let sent = wire.close_frame().await.0;
        assert!([1005, 1011, 1000].contains(&sent), "close({bad}) sent {sent}");
    }
}

#[tokio::test]
async fn a_close_that_is_not_waited_for_still_happens() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.sender().close(4000, "from a sender").await?;
        pause(60_000).await;
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    let end = ending(websocket.receive().await);
    assert_eq!((u16::from(end.code()), end.reason()), (4000, "from a sender"));
}

#[tokio::test]
async fn the_end_of_a_connection_is_one_value_for_all_who_ask() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        let outside = tokio::spawn({
            let sender = sender.clone();
            async move { sender.closed().await }
        });
        assert_eq!(sender.end(), None);
        let end = ending(websocket.receive().await);
        seen.send(vec![end, sender.end().unwrap(), outside.await.unwrap(), sender.closed().await]).unwrap();
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(close(4321, "mine")).await;
    let ends = within(see.recv()).await.unwrap();
    assert!(ends.iter().all(|end| *end == ends[0] && end.reason() == "mine"), "{ends:?}");
}

#[tokio::test]
async fn a_normal_close_is_no_error_in_any_log() {
    let (logs, _guard) = Logs::capture();
    let (app, mut see) = watched();
    let server = serve(app.on_error(|error| panic!("on_error saw {error}"))).await;
    for bytes in [close(1000, ""), close(1001, ""), frame(CLOSE, ""), close(4000, "a code of the application")] {
        let mut wire = server.upgrade("/ws").await;
        wire.send(bytes).await;
        within(see.recv()).await.unwrap();
        wire.close_frame().await;
    }
    server.wait_for_connections(0).await;
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
}

#[tokio::test]
async fn a_disconnect_that_the_handler_lets_out_is_no_error_either() {
    let (logs, _guard) = Logs::capture();
    let app = app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        loop {
            websocket.receive_text().await?;
        }
    });
    let server = serve(app.on_error(|error| panic!("on_error saw {error}"))).await;
    for lost in [false, true] {
        let mut wire = server.upgrade("/ws").await;
        if !lost {
            wire.send(close(1000, "")).await;
            wire.close_frame().await;
        }
        drop(wire);
        server.wait_for_connections(0).await;
    }
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
}

#[tokio::test]
async fn the_log_names_each_end_with_its_cause_and_on_one_line() {
    let (logs, _guard) = Logs::capture();
    let (app, mut see) = watched();
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(close(4000, "two\nlines \u{1b}[2J")).await;
    within(see.recv()).await.unwrap();
    server.wait_for_connections(0).await;
    let lines = logs.at(Level::DEBUG);
    let line = lines.iter().find(|line| line.contains("4000")).unwrap_or_else(|| panic!("{lines:?}"));
    assert!(line.contains("/ws") && line.contains("closed by peer"), "{line}");
    assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
}

#[tokio::test]
async fn a_websocket_that_is_dropped_before_anything_was_read_still_closes_cleanly() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(30).await;
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    // Unread bytes in the kernel must not turn the close into a reset.
    for _ in 0..50 {
        wire.send(text(&"x".repeat(2_000))).await;
    }
    assert_eq!(wire.close_frame().await.0, 1000);
    wire.send(close(1000, "")).await;
    assert_eq!(wire.frame().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_broke_the_protocol_and_reads_late_gets_its_answers_and_the_close_frame() {
    let (mut wire, _) = pipe(App::new().websocket_route("/ws", echo));
    wire.handshake("/ws").await;
    // Four times what the pipe holds: most of the answers wait in the server.
    for _ in 0..8 {
        wire.send(frame(BINARY, vec![7; 32 * 1024])).await;
    }
    wire.send(frame(0x3, "a reserved opcode")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..8 {
        assert_eq!(wire.read_frame().await.unwrap().payload.len(), 32 * 1024);
    }
    assert_eq!(wire.read_frame().await.unwrap().into_close().0, 1002);
    assert_eq!(wire.read_frame().await, None);
}
