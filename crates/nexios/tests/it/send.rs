//! Sending from the handler: backpressure, one write for what belongs together, what arrives at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::outcome::{code, ending};
use crate::programs::{app, echo};
use crate::serving::{pause, pipe, serve, within};
use crate::wire::{BINARY, CLOSE, TEXT, close, frame, text};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn each_way_of_sending_takes_what_it_should() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.send_text("borrowed").await?;
        websocket.send_text(String::from("owned")).await?;
        websocket.send_text(Utf8Bytes::from("shared")).await?;
        websocket.send_bytes(vec![1]).await?;
        websocket.send_bytes(&b"static"[..]).await?;
        websocket.send_bytes(Bytes::from_static(b"bytes")).await?;
        websocket.send_json(&vec![1, 2]).await?;
        websocket.send_json("text").await?;
        websocket.send(Message::Text("message".into())).await?;
        websocket.send(Bytes::from_static(b"binary")).await
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    let expected: [(u8, &[u8]); 10] = [
        (TEXT, b"borrowed"),
        (TEXT, b"owned"),
        (TEXT, b"shared"),
        (BINARY, &[1]),
        (BINARY, b"static"),
        (BINARY, b"bytes"),
        (TEXT, b"[1,2]"),
        (TEXT, b"\"text\""),
        (TEXT, b"message"),
        (BINARY, b"binary"),
    ];
    for (opcode, payload) in expected {
        let frame = wire.frame().await.unwrap();
        assert!(frame.fin);
        assert_eq!((frame.opcode, &frame.payload[..]), (opcode, payload));
    }
    assert_eq!(wire.close_frame().await, (1000, String::new()));
}

#[tokio::test]
async fn messages_of_every_size_arrive_whole() {
    let client = TestClient::new(app(echo));
    let mut websocket = client.connect("/ws").await.unwrap();
    for len in [0, 1, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 65_537, 300_000, MIB] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        websocket.send_bytes(bytes.clone()).await.unwrap();
        let received = within(websocket.receive_bytes()).await.unwrap();
        assert!(received == bytes, "{len} bytes came back as {} or changed", received.len());
    }
}

#[tokio::test]
async fn messages_of_mixed_sizes_arrive_in_order_over_a_real_socket() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        for i in 0..400_usize {
            websocket.send_bytes(vec![(i % 256) as u8; (i * 37) % 9_000]).await?;
        }
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    pause(50).await;
    for i in 0..400_usize {
        let frame = wire.frame().await.unwrap();
        assert!(frame.payload == vec![(i % 256) as u8; (i * 37) % 9_000], "message {i}");
    }
    assert_eq!(wire.close_frame().await.0, 1000);
}

#[tokio::test]
async fn the_answers_to_16_pipelined_messages_leave_in_one_write() {
    let (mut wire, writes) = pipe(app(echo));
    wire.handshake("/ws").await;
    wire.send(text("warm")).await;
    assert_eq!(wire.text().await, "warm");
    let before = writes.load(Ordering::Relaxed);
    wire.send((0..16).flat_map(|i| text(&format!("message {i}"))).collect::<Vec<_>>()).await;
    for i in 0..16 {
        assert_eq!(wire.text().await, format!("message {i}"));
    }
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test]
async fn over_a_socket_one_read_finds_all_16_answers() {
    let server = serve(app(echo)).await;
    let mut wire = server.upgrade("/ws").await;
    for round in 0..20 {
        wire.send((0..16).flat_map(|i| text(&format!("message {i}"))).collect::<Vec<_>>()).await;
        assert!(within(wire.fill()).await);
        assert_eq!(wire.frames_at_hand().len(), 16, "round {round}");
    }
}

#[tokio::test]
async fn what_a_handler_sends_before_it_waits_leaves_in_one_write() {
    let (mut wire, writes) = pipe(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        websocket.receive().await?;
        for i in 0..10 {
            websocket.send_text(format!("{i}")).await?;
        }
        websocket.send_bytes(vec![1; 10_000]).await?;
        websocket.send_bytes(vec![2; 10_000]).await?;
        websocket.receive().await?;
        Ok(())
    }));
    wire.handshake("/ws").await;
    let before = writes.load(Ordering::Relaxed);
    wire.send(text("go")).await;
    for _ in 0..12 {
        wire.frame().await.unwrap();
    }
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test]
async fn a_handlers_own_send_waits_for_a_peer_that_does_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let (mut wire, _) = pipe(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        loop {
            websocket.send_bytes(vec![0; 16 * 1024]).await?;
            counter.fetch_add(16 * 1024, Ordering::Relaxed);
        }
    }));
    wire.handshake("/ws").await;
    pause(100).await;
    let taken = sent.load(Ordering::Relaxed);
    // Half of the queue, a message, and what the pipe holds.
    assert!(taken <= MIB, "{taken} bytes were taken for a peer that reads nothing");
    pause(100).await;
    assert_eq!(sent.load(Ordering::Relaxed), taken, "sending went on");
    for _ in 0..200 {
        assert_eq!(wire.frame().await.unwrap().payload.len(), 16 * 1024);
    }
    assert!(sent.load(Ordering::Relaxed) > taken, "sending did not go on");
}

#[tokio::test]
async fn over_a_socket_own_send_waits_and_loses_nothing() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        for i in 0..400_u32 {
            let mut bytes = vec![0; 64 * 1024];
            bytes[..4].copy_from_slice(&i.to_be_bytes());
            websocket.send_bytes(bytes).await?;
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    pause(200).await;
    let taken = sent.load(Ordering::Relaxed);
    assert!(taken < 400, "25 MiB were taken for a peer that reads nothing");
    pause(100).await;
    assert_eq!(sent.load(Ordering::Relaxed), taken, "sending went on");
    for i in 0..400_u32 {
        assert_eq!(wire.frame().await.unwrap().payload[..4], i.to_be_bytes());
    }
    assert_eq!(wire.close_frame().await.0, 1000);
}

#[tokio::test]
async fn a_waiting_send_that_is_dropped_has_sent_nothing_and_the_others_all() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let (mut wire, _) = pipe(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let mut sent = Vec::new();
        for i in 0..200_u32 {
            let mut bytes = vec![0; 16 * 1024];
            bytes[..4].copy_from_slice(&i.to_be_bytes());
            tokio::select! {
                biased;
                result = websocket.send_bytes(bytes) => {
                    result?;
                    sent.push(i);
                }
                () = pause(1) => {}
            }
        }
        seen.send(sent).unwrap();
        pause(60_000).await;
        Ok(())
    }));
    wire.handshake("/ws").await;
    let sent = within(see.recv()).await.unwrap();
    assert!((10..200).contains(&sent.len()), "{} of 200 were sent", sent.len());
    for i in sent {
        assert_eq!(wire.frame().await.unwrap().payload[..4], i.to_be_bytes());
    }
    let more = tokio::time::timeout(Duration::from_millis(50), wire.read_frame()).await;
    assert!(more.is_err(), "a message arrived whose send was dropped");
}

#[tokio::test]
async fn a_send_that_waits_ends_when_the_peer_is_lost() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        loop {
            if let Err(error) = websocket.send_bytes(vec![0; 64 * 1024]).await {
                seen.send(ending::<()>(Err(error)).cause()).unwrap();
                return Ok(());
            }
        }
    }))
    .await;
    let wire = server.upgrade("/ws").await;
    pause(100).await;
    wire.abort();
    assert_eq!(within(see.recv()).await.unwrap(), Cause::ConnectionLost);
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn a_send_after_close_is_an_error() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client = TestClient::new(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        websocket.close(4000, "enough").await?;
        seen.send(code(websocket.send_text("more").await)).unwrap();
        seen.send(code(websocket.send_json(&1).await)).unwrap();
        seen.send(code(sender.send_bytes(vec![1]).await)).unwrap();
        seen.send(sender.try_send("more").is_err().into()).unwrap();
        Ok(())
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    assert_eq!(code(websocket.receive().await), 4000);
    for expected in [4000, 4000, 4000, 1] {
        assert_eq!(within(see.recv()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_send_after_the_peers_close_is_an_error_that_holds_the_peers_word() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(app(async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(50).await;
        let end = ending(websocket.send_text("too late").await);
        seen.send((u16::from(end.code()), end.reason().to_owned())).unwrap();
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(close(4002, "gone")).await;
    assert_eq!(within(see.recv()).await.unwrap(), (4002, "gone".to_owned()));
}

#[tokio::test]
async fn what_was_sent_before_the_end_arrives_before_the_close_frame() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        for i in 0..20_u8 {
            websocket.send_bytes(vec![i; 20_000]).await?;
        }
        Err(Error::other("and then it fails"))
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    for i in 0..20_u8 {
        assert!(wire.frame().await.unwrap().payload == vec![i; 20_000]);
    }
    let last = wire.frame().await.unwrap();
    assert_eq!(last.opcode, CLOSE);
    assert_eq!(last.into_close().0, 1011);
}

#[tokio::test]
async fn sending_and_receiving_at_once_needs_no_split() {
    let client = TestClient::new(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        let ticks = tokio::spawn(async move {
            for i in 0..50 {
                sender.send_text(format!("tick {i}")).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..50 {
            let message = websocket.receive().await?;
            websocket.send(message).await?;
        }
        ticks.await.map_err(Error::other)
    }));
    let mut websocket = client.connect("/ws").await.unwrap();
    let (mut echoes, mut ticks) = (0, 0);
    for i in 0..50 {
        websocket.send_text(format!("echo {i}")).await.unwrap();
    }
    for _ in 0..100 {
        let text = within(websocket.receive_text()).await.unwrap();
        if text.starts_with("tick") {
            assert_eq!(text, format!("tick {ticks}"));
            ticks += 1;
        } else {
            assert_eq!(text, format!("echo {echoes}"));
            echoes += 1;
        }
    }
}

#[tokio::test]
async fn a_ping_flood_of_a_peer_that_does_not_read_is_not_buffered() {
    let server = serve(app(async |mut websocket: WebSocket| {
        websocket.accept().await?;
        pause(60_000).await;
        Ok(())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    let pings: Vec<u8> = (0..500).flat_map(|_| frame(0x9, [b'x'; 125])).collect();
    let mut sent = 0;
    let flood = async {
        while sent < 128 * MIB {
            wire.send(&pings).await;
            sent += pings.len();
        }
    };
    let stopped = tokio::time::timeout(Duration::from_millis(700), flood).await;
    assert!(stopped.is_err() && sent < 64 * MIB, "{sent} bytes of pings were taken");
    // When the peer reads again, it gets its answers, and the connection is alive.
    let mut buffer = vec![0; 64 * 1024];
    within(async { assert!(wire.stream.read(&mut buffer).await.unwrap() > 0) }).await;
}
