//! Receiving: types, order, cancel safety, what reaches the application and what does not.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{MessageType, ProtocolError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::outcome::{code, ending};
use crate::programs::{app, echo};
use crate::serving::{pause, pipe, serve, wait_for_connections, within};
use crate::wire::{BINARY, PING, PONG, TEXT, close, frame, raw_frame, text};

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Move {
    x: i32,
    y: i32,
}

#[tokio::test]
async fn each_type_of_message_is_received_as_what_it_is() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        assert_eq!(websocket.receive_text().await?, "text");
        assert_eq!(websocket.receive_bytes().await?, &[0, 255][..]);
        assert_eq!(websocket.receive_json::<Move>().await?, Move { x: 1, y: -2 });
        assert_eq!(websocket.receive().await?, Message::from("any text"));
        assert_eq!(websocket.receive().await?, Message::from(vec![1, 2]));
        websocket.send_text("all five").await
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("text").await.unwrap();
    websocket.send_bytes(vec![0, 255]).await.unwrap();
    websocket.send_json(&Move { x: 1, y: -2 }).await.unwrap();
    websocket.send("any text").await.unwrap();
    websocket.send(vec![1, 2]).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "all five");
}

#[tokio::test]
async fn an_empty_message_is_a_message() {
    let client = TestClient::new(app(echo));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("").await.unwrap();
    assert_eq!(websocket.receive().await.unwrap(), Message::from(""));
    websocket.send_bytes(Vec::new()).await.unwrap();
    assert_eq!(websocket.receive().await.unwrap(), Message::from(Vec::new()));
}

#[tokio::test]
async fn binary_where_text_was_due_is_an_error_and_closes_1003() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let error = websocket.receive_text().await.unwrap_err();
        assert!(matches!(&error, Error::MessageType(wrong) if wrong.wanted() == MessageType::Text), "{error:?}");
        assert!(error.to_string().contains("binary"), "{error}");
        Err(error)
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_bytes(vec![1]).await.unwrap();
    assert_eq!(code(websocket.receive().await), 1003);
}

#[tokio::test]
async fn text_where_binary_or_json_was_due_closes_1003_also_when_the_handler_swallows_the_error() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.receive_bytes().await.unwrap_err();
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("text").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1003);

    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.receive_json::<Move>().await?;
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_bytes(b"{}".to_vec()).await.unwrap();
    assert_eq!(code(websocket.receive().await), 1003);
}

#[tokio::test]
async fn a_handler_may_go_on_after_a_message_of_the_wrong_type() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        assert!(websocket.receive_text().await.is_err());
        websocket.send_text("text, please").await?;
        let text = websocket.receive_text().await?;
        websocket.send_text(text).await
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_bytes(vec![1]).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "text, please");
    websocket.send_text("sorry").await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "sorry");
    assert_eq!(code(websocket.receive().await), 1000);
}

#[tokio::test]
async fn malformed_json_is_an_error_that_names_line_and_column_and_closes_1007() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = TestClient::new(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let error = websocket.receive_json::<Move>().await.unwrap_err();
        let Error::Json(json) = &error else { panic!("{error:?}") };
        seen.send((json.line(), json.column(), error.to_string())).unwrap();
        Err(error)
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("{\"x\": 1,\n \"y\": oops}").await.unwrap();
    assert_eq!(code(websocket.receive().await), 1007);
    let (line, column, text) = see.recv().await.unwrap();
    assert_eq!((line, column), (2, 7));
    assert!(text.contains("line 2") && text.contains("column 7"), "{text}");
}

#[tokio::test]
async fn json_of_another_shape_closes_1007_and_names_what_is_missing() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = TestClient::new(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let error = websocket.receive_json::<Move>().await.unwrap_err();
        seen.send(error.to_string()).unwrap();
        Err(error)
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text(r#"{"x": 1}"#).await.unwrap();
    assert_eq!(code(websocket.receive().await), 1007);
    assert!(see.recv().await.unwrap().contains('y'));
}

#[tokio::test]
async fn a_handler_may_answer_malformed_json_and_go_on() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        loop {
            match websocket.receive_json::<Move>().await {
                Ok(step) => websocket.send_json(&step).await?,
                Err(Error::Json(error)) => websocket.send_text(error.to_string()).await?,
                Err(error) => return Err(error),
            }
        }
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("{").await.unwrap();
    assert!(websocket.receive_text().await.unwrap().contains("invalid JSON"));
    websocket.send_json(&Move { x: 3, y: 4 }).await.unwrap();
    assert_eq!(websocket.receive_json::<Move>().await.unwrap(), Move { x: 3, y: 4 });
}

#[tokio::test]
async fn json_that_is_nested_too_deep_is_an_error_not_a_crash() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        #[derive(Deserialize)]
        struct Deep {
            #[expect(dead_code, reason = "only its shape counts")]
            below: Option<Box<Deep>>,
        }
        let error = websocket.receive_json::<Deep>().await.map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Json(_)), "{error:?}");
        websocket.send_text("alive").await
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("{\"below\":".repeat(50_000)).await.unwrap();
    assert_eq!(websocket.receive_text().await.unwrap(), "alive");
}

#[tokio::test]
async fn after_the_end_every_call_says_how_it_ended_and_none_hangs() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = TestClient::new(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let mut ends = vec![ending(websocket.receive().await)];
        ends.push(ending(websocket.receive_text().await));
        ends.push(ending(websocket.receive_bytes().await));
        ends.push(ending(websocket.receive_json::<Move>().await));
        ends.push(ending(websocket.send_text("too late").await));
        ends.push(ending(websocket.sender().send_text("too late").await));
        ends.push(ending(websocket.close(1000, "").await));
        seen.send(ends).unwrap();
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.close(4001, "bye").await.unwrap();
    let ends = within(see.recv()).await.unwrap();
    assert_eq!(ends.len(), 7);
    for end in ends {
        assert_eq!((u16::from(end.code()), end.reason()), (4001, "bye"));
        assert_eq!((end.ended_by(), end.cause()), (EndedBy::Peer, Cause::Closed));
    }
}

#[tokio::test]
async fn messages_before_the_peers_close_can_still_be_received() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(50).await;
        seen.send(websocket.receive_text().await?.to_string()).unwrap();
        seen.send(websocket.receive_text().await?.to_string()).unwrap();
        seen.send(code(websocket.receive_text().await).to_string()).unwrap();
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([text("one"), text("two"), close(1001, "")].concat()).await;
    for expected in ["one", "two", "1001"] {
        assert_eq!(within(see.recv()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn in_select_no_byte_is_lost_however_slowly_they_come() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let mut tick = tokio::time::interval(Duration::from_micros(300));
        let mut received = Vec::new();
        while received.len() < 6 {
            tokio::select! {
                biased;
                _ = tick.tick() => {}
                message = websocket.receive() => received.push(message?.into_bytes()),
            }
        }
        websocket.send_bytes(received.concat()).await
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.stream.set_nodelay(true).unwrap();
    let bytes = [
        text("one"),
        raw_frame(TEXT, b"two "),
        frame(PING, "in between"),
        raw_frame(0x80, b"halves"),
        frame(BINARY, [b'x'; 300]),
        text(""),
        text("fünf"),
        text("six"),
    ]
    .concat();
    for byte in bytes {
        wire.send([byte]).await;
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    assert_eq!(wire.frame().await.unwrap().opcode, PONG);
    let expected = format!("onetwo halves{}fünfsix", "x".repeat(300));
    assert_eq!(String::from_utf8(wire.frame().await.unwrap().payload).unwrap(), expected);
}

#[tokio::test]
async fn a_receive_that_is_dropped_and_begun_again_takes_the_next_message() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let mut sum = 0;
        for _ in 0..200 {
            // Each receive is dropped at once now and then, also the typed ones.
            let number = loop {
                tokio::select! {
                    biased;
                    number = websocket.receive_json::<u32>() => break number?,
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(number, sum);
            sum += 1;
        }
        websocket.send_json(&sum).await
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    for number in 0..200 {
        websocket.send_json(&number).await.unwrap();
        if number % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(within(websocket.receive_json::<u32>()).await.unwrap(), 200);
}

#[tokio::test]
async fn a_ping_is_answered_while_the_handler_is_busy_elsewhere() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(60_000).await;
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    for payload in ["", "one", "two"] {
        wire.send(frame(PING, payload)).await;
        let pong = wire.frame().await.unwrap();
        assert_eq!((pong.opcode, pong.payload), (PONG, payload.as_bytes().to_vec()));
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_messages_wait_unread() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(60_000).await;
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    for i in 0..20 {
        wire.send([text(&"x".repeat(1024)), frame(PING, [i])].concat()).await;
        assert_eq!(wire.frame().await.unwrap().payload, [i], "behind {} messages", i + 1);
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_the_handler_waits_in_a_second_task() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        tokio::spawn(async move {
            pause(60_000).await;
            drop(websocket);
        })
        .await
        .map_err(Error::other)
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([text("unread"), frame(PING, "hello")].concat()).await;
    assert_eq!(wire.frame().await.unwrap().payload, b"hello");
}

#[tokio::test]
async fn pings_and_pongs_never_reach_the_application() {
    let server = serve(app(echo)).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send([frame(PONG, "unasked"), frame(PING, "ping"), text("text")].concat()).await;
    assert_eq!(wire.frame().await.unwrap().opcode, PONG);
    assert_eq!(wire.text().await, "text");
}

#[tokio::test]
async fn ten_pings_in_one_segment_are_answered_ten_times_in_order() {
    let server = serve(app(echo)).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send((0..10).flat_map(|i| frame(PING, [i])).collect::<Vec<_>>()).await;
    for i in 0..10 {
        assert_eq!(wire.frame().await.unwrap().payload, [i]);
    }
}

#[tokio::test]
async fn a_client_that_was_late_receives_everything_that_was_sent() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        for i in 0..1_000 {
            websocket.send_text(format!("{i:1024}")).await?;
        }
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    pause(100).await;
    within(async {
        for i in 0..1_000 {
            assert_eq!(websocket.receive_text().await.unwrap().trim(), i.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_was_late_receives_everything_that_was_sent() {
    for moved in [false, true] {
        let client = TestClient::new(app(async move |mut websocket: WebSocket| {
            websocket.accept().await?;
            let late = async move {
                pause(100).await;
                for i in 0..1_000 {
                    assert_eq!(websocket.receive_text().await?.trim(), i.to_string());
                }
                websocket.send_text("complete").await
            };
            if moved { tokio::spawn(late).await.map_err(Error::other)? } else { late.await }
        }));
        let mut websocket = client.connect("/ws").await.unwrap();
        let complete = async {
            for i in 0..1_000 {
                websocket.send_text(format!("{i:1024}")).await.unwrap();
            }
            websocket.receive_text().await.unwrap()
        };
        assert_eq!(within(complete).await, "complete", "moved to another task: {moved}");
    }
}

#[tokio::test]
async fn a_handler_that_does_not_receive_holds_its_peer_back() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(60_000).await;
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.stream.set_nodelay(true).unwrap();
    let message = frame(BINARY, vec![0; 64 * 1024]);
    let mut sent = 0;
    let flood = async {
        while sent < 256 * 1024 * 1024 {
            wire.send(&message).await;
            sent += message.len();
        }
    };
    let stopped = tokio::time::timeout(Duration::from_millis(700), flood).await;
    assert!(stopped.is_err(), "256 MiB were taken from a peer whose messages nobody reads");
    assert!(sent < 32 * 1024 * 1024, "{sent} bytes were taken");
}

#[tokio::test]
async fn messages_ends_when_the_peer_closes_normally() {
    for code in [Some(1000), Some(1001), None] {
        let (seen, mut see) = mpsc::unbounded_channel();
        let server = serve(app(async move |mut websocket: WebSocket| {
            websocket.accept().await?;
            let texts: Vec<_> = StreamExt::collect(websocket.messages()).await;
            seen.send(texts.len()).unwrap();
            for text in texts {
                text?;
            }
            assert!(websocket.messages().next().await.is_none(), "the end of the end");
            Ok(())
        }))
        .await;
        let mut wire = server.upgrade("/ws").await;
        let goodbye = code.map_or_else(|| frame(0x8, ""), |code| close(code, ""));
        wire.send([text("one"), text("two"), goodbye].concat()).await;
        assert_eq!(within(see.recv()).await.unwrap(), 2, "{code:?}");
    }
}

#[tokio::test]
async fn messages_yields_an_error_when_the_end_was_not_normal() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let mut messages = websocket.messages();
        let end = ending(messages.next().await.expect("the stream ended without a word"));
        seen.send((u16::from(end.code()), end.cause())).unwrap();
        assert!(messages.next().await.is_none(), "nothing follows the error");
        Ok(())
    }))
    .await;
    let cases: [(&[u8], (u16, Cause)); 3] = [
        (&close(4000, "rude"), (4000, Cause::Closed)),
        (&[], (1006, Cause::ConnectionLost)),
        (&[0x81, 0x00], (1002, Cause::ProtocolError(ProtocolError::UnmaskedFrame))),
    ];
    for (bytes, expected) in cases {
        let mut wire = server.upgrade("/ws").await;
        wire.send(bytes).await;
        drop(wire);
        assert_eq!(within(see.recv()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn messages_is_a_stream_that_can_be_named_and_moved() {
    fn is_stream<S: futures_core::Stream<Item = nexios::Result<Message>> + Unpin + Send>(stream: S) -> S {
        stream
    }
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let count = is_stream(websocket.messages()).take(2).count().await;
        websocket.send_json(&count).await
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    websocket.send_text("one").await.unwrap();
    websocket.send_text("two").await.unwrap();
    assert_eq!(websocket.receive_json::<usize>().await.unwrap(), 2);
}

#[tokio::test]
async fn a_message_over_the_limit_closes_1009_before_it_has_arrived() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let result = websocket.receive().await;
        seen.send(ending(result)).unwrap();
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    // A header that announces 1 MiB and one byte.
    let mut header = vec![0x82, 0xFF];
    header.extend((1024 * 1024 + 1u64).to_be_bytes());
    header.extend([0; 4]);
    wire.send(header).await;
    assert_eq!(wire.close_frame().await.0, 1009);
    let end = within(see.recv()).await.unwrap();
    assert_eq!(end.ended_by(), EndedBy::Local);
    assert!(matches!(end.cause(), Cause::ProtocolError(ProtocolError::MessageTooBig { .. })), "{end:?}");
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_taken() {
    let client = TestClient::new(app(echo));
    let mut websocket = client.connect("/ws").await.unwrap();
    let text = "ü".repeat(512 * 1024);
    websocket.send_text(text.clone()).await.unwrap();
    assert!(websocket.receive_text().await.unwrap() == text);
}

#[tokio::test]
async fn a_route_may_have_limits_of_its_own() {
    let big = WebSocketRoute::new("/big", echo).config(Config::new().message_size(Limit::Unlimited));
    let app = App::new().config(Config::new().message_size(10)).websocket_route("/small", echo).add_ws_route(big);
    let server = serve(app).await;
    let mut small = server.upgrade("/small").await;
    small.send(text("ten bytes!")).await;
    assert_eq!(small.text().await, "ten bytes!");
    small.send(text("eleven byte")).await;
    assert_eq!(small.close_frame().await.0, 1009);
    let mut big = server.upgrade("/big").await;
    big.send(frame(BINARY, vec![7; 3 * 1024 * 1024])).await;
    assert_eq!(big.frame().await.unwrap().payload, vec![7; 3 * 1024 * 1024]);
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_with_its_code_and_an_empty_connection_stays() {
    let server = serve(app(echo)).await;
    let cases: [(&str, Vec<u8>, u16); 8] = [
        ("an unmasked frame", vec![0x81, 0x01, b'x'], 1002),
        ("a reserved bit", raw_frame(0xC1, b"x"), 1002),
        ("a reserved opcode", frame(0x3, "x"), 1002),
        ("a continuation of nothing", frame(0x0, "x"), 1002),
        ("a ping of 126 bytes", frame(PING, [0; 126]), 1002),
        ("half a ping", raw_frame(PING, b"x"), 1002),
        ("text that is no UTF-8", frame(TEXT, [0xC0, 0xAF]), 1007),
        ("a close code that nobody may send", close(1005, ""), 1002),
    ];
    for (what, bytes, expected) in cases {
        let mut wire = server.upgrade("/ws").await;
        wire.send(bytes).await;
        assert_eq!(wire.close_frame().await.0, expected, "{what}");
    }
    server.wait_for_connections(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_idle_needs_no_cpu_while_its_handler_waits_for_several_things() {
    let polls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = polls.clone();
    let (mut wire, _) = pipe(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        let mut work = std::pin::pin!(async {
            tokio::select! {
                _ = sender.closed() => Ok(()),
                received = websocket.receive() => received.map(|_| ()),
            }
        });
        std::future::poll_fn(|cx| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            work.as_mut().poll(cx)
        })
        .await
    }));
    wire.handshake("/ws").await;
    // Yields instead of a sleep: a task that is always ready would keep the clock from moving.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let polled = polls.load(std::sync::atomic::Ordering::Relaxed);
    assert!(polled < 10, "the handler was polled {polled} times for nothing");
}

#[tokio::test]
async fn the_handlers_of_many_connections_do_not_mix_their_messages() {
    let client = TestClient::new(app(echo));
    let mut sockets = HashMap::new();
    for i in 0..50 {
        sockets.insert(i, client.connect("/ws").await.unwrap());
    }
    for (i, websocket) in &mut sockets {
        websocket.send_json(i).await.unwrap();
    }
    for (i, websocket) in &mut sockets {
        assert_eq!(websocket.receive_json::<usize>().await.unwrap(), *i);
    }
    assert_eq!(client.handle().connection_count(), 50);
    sockets.clear();
    wait_for_connections(&client.handle(), 0).await;
}
