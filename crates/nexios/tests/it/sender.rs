//! Senders: from other handlers, tasks and threads, to peers that read and peers that do not.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexios::TrySendError;
use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::sync::mpsc;

use crate::outcome::{code, ending};
use crate::serving::{pause, pipe, serve, wait_for_connections, within};
use crate::wire::{CLOSE, text};

const MIB: usize = 1024 * 1024;

/// An app that hands out the sender of each connection, and then receives until the end.
fn app() -> (App, mpsc::UnboundedReceiver<Sender>) {
    let (senders, see) = mpsc::unbounded_channel();
    let app = App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        senders.send(websocket.sender()).unwrap();
        loop {
            websocket.receive().await?;
        }
    });
    (app, see)
}

/// The reference's way to broadcast: a list of one's own.
type Everybody = Arc<Mutex<Vec<Sender>>>;

async fn broadcast(mut websocket: WebSocket, State(everybody): State<Everybody>) -> nexios::Result {
    websocket.accept().await?;
    everybody.lock().unwrap().push(websocket.sender());
    websocket.send_text("joined").await?;
    loop {
        let text = websocket.receive_text().await?;
        let senders = everybody.lock().unwrap().clone();
        for sender in senders {
            let _ = sender.send_text(format!("Broadcast: {text}")).await;
        }
    }
}

#[tokio::test]
async fn a_sender_has_the_same_ways_of_sending() {
    let (app, mut senders) = app();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    let sender = senders.recv().await.unwrap();
    sender.send_text("text").await.unwrap();
    sender.send_bytes(vec![1]).await.unwrap();
    sender.send_json(&[1, 2]).await.unwrap();
    sender.send("message").await.unwrap();
    sender.try_send("at once").unwrap();
    for expected in [Message::from("text"), vec![1].into(), "[1,2]".into(), "message".into(), "at once".into()] {
        assert_eq!(websocket.receive().await.unwrap(), expected);
    }
    assert_eq!(sender.id(), sender.clone().id());
}

#[tokio::test]
async fn a_sender_works_from_another_thread_without_a_runtime() {
    let (app, mut senders) = app();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    let sender = senders.recv().await.unwrap();
    std::thread::spawn(move || sender.try_send("from a thread").unwrap()).join().unwrap();
    assert_eq!(within(websocket.receive_text()).await.unwrap(), "from a thread");
}

#[tokio::test]
async fn close_through_a_sender_ends_the_handler() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client =
        TestClient::new(App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            seen.send(websocket.sender()).unwrap();
            let end = ending(websocket.receive().await);
            assert_eq!((u16::from(end.code()), end.reason(), end.ended_by()), (4003, "kicked", EndedBy::Local));
            Ok(())
        }));
    let mut websocket = client.connect("/ws").await.unwrap();
    let sender = see.recv().await.unwrap();
    sender.send_text("last words").await.unwrap();
    sender.close(4003, "kicked").await.unwrap();
    assert_eq!(code(sender.close(4004, "again").await), 4003);
    assert_eq!(websocket.receive_text().await.unwrap(), "last words");
    assert_eq!(code(websocket.receive().await), 4003);
    assert_eq!(u16::from(within(sender.closed()).await.code()), 4003);
    wait_for_connections(&client.handle(), 0).await;
}

#[tokio::test]
async fn a_sender_does_not_keep_its_connection_open_and_says_how_it_ended() {
    let (app, mut senders) = app();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    let sender = senders.recv().await.unwrap();
    assert!(sender.is_open() && sender.end().is_none());
    websocket.close(1000, "").await.unwrap();
    wait_for_connections(&client.handle(), 0).await;
    assert!(!sender.is_open());
    assert_eq!(sender.end().unwrap().code(), CloseCode::NORMAL);
    assert_eq!(code(sender.send_text("too late").await), 1000);
    assert!(matches!(sender.try_send(vec![7]), Err(TrySendError::NotOpen(message)) if message.as_bytes() == [7]));
}

#[tokio::test]
async fn everybody_of_a_list_gets_a_broadcast_in_the_same_order() {
    let client = TestClient::new(App::with_state(Everybody::default()).websocket_route("/ws", broadcast));
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut websocket = client.connect("/ws").await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), "joined");
        sockets.push(websocket);
    }
    for i in 0..20 {
        sockets[i % 10].send_text(i.to_string()).await.unwrap();
        // In one order for all, whoever spoke.
        for websocket in &mut sockets {
            assert_eq!(within(websocket.receive_text()).await.unwrap(), format!("Broadcast: {i}"));
        }
    }
}

#[tokio::test]
async fn a_dead_member_of_a_list_neither_stops_nor_delays_a_broadcast() {
    let server = serve(App::with_state(Everybody::default()).websocket_route("/ws", broadcast)).await;
    let mut alive = server.upgrade("/ws").await;
    alive.text().await;
    for reset in [true, false] {
        let mut dead = server.upgrade("/ws").await;
        dead.text().await;
        if reset { dead.abort() } else { drop(dead) }
    }
    let began = Instant::now();
    for _ in 0..10 {
        alive.send(text("anybody?")).await;
        assert_eq!(alive.text().await, "Broadcast: anybody?");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_as_a_slow_consumer_and_holds_at_most_1_mib() {
    let (app, mut senders) = app();
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    let mut taken = 0;
    let error = within(async {
        loop {
            match sender.send_bytes(vec![0; 32 * 1024]).await {
                Ok(()) => taken += 32 * 1024,
                Err(error) => return error,
            }
        }
    })
    .await;
    // The queue, and what the pipe holds.
    assert!((MIB - 64 * 1024..=MIB + 300 * 1024).contains(&taken), "{taken} bytes were taken");
    let end = ending::<()>(Err(error));
    assert_eq!((end.cause(), u16::from(end.code()), end.ended_by()), (Cause::SlowConsumer, 4430, EndedBy::Local));
    assert_eq!(code(sender.send_text("more").await), 4430);
    // When it reads at last, it finds what was queued, and why it was closed.
    let mut messages = 0;
    let last = loop {
        let frame = wire.frame().await.unwrap();
        if frame.opcode == CLOSE {
            break frame.into_close();
        }
        messages += 1;
    };
    assert_eq!(messages * 32 * 1024, taken);
    assert_eq!(last.0, 4430);
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_that_never_reads_is_gone_after_the_closing_deadline() {
    let (app, mut senders) = app();
    let handle = app.handle();
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let sender = senders.recv().await.unwrap();
    while sender.send_bytes(vec![0; 32 * 1024]).await.is_ok() {}
    let began = tokio::time::Instant::now();
    let end = sender.closed().await;
    assert_eq!(end.cause(), Cause::SlowConsumer);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    wait_for_connections(&handle, 0).await;
}

#[tokio::test]
async fn the_size_of_the_queue_is_a_setting() {
    let (app, mut senders) = app();
    let (mut wire, _) = pipe(app.config(Config::new().outbound_queue(10_000)));
    wire.handshake("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    let mut taken = 0;
    while sender.try_send(vec![0; 1_000]).is_ok() {
        taken += 1_000;
    }
    assert!((8_000..=10_000).contains(&taken), "{taken}");
    // Without giving way, the task could not write: it does now, and there is room again.
    pause(20).await;
    sender.try_send(vec![0; 1_000]).unwrap();
}

#[tokio::test]
async fn a_full_queue_gives_the_message_back_and_closes_nothing() {
    let (app, mut senders) = app();
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    let mut taken = 0;
    let message = loop {
        match sender.try_send(vec![7; 32 * 1024]) {
            Ok(()) => taken += 1,
            Err(TrySendError::Full(message)) => break message,
            Err(other) => panic!("{other:?}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(message.as_bytes(), vec![7; 32 * 1024]);
    assert!(sender.is_open());
    for _ in 0..taken {
        assert_eq!(wire.frame().await.unwrap().payload.len(), 32 * 1024);
    }
    within(sender.ready()).await.unwrap();
    sender.send_text("room again").await.unwrap();
    assert_eq!(wire.text().await, "room again");
}

#[tokio::test]
async fn waiting_until_ready_follows_the_peers_pace() {
    let (app, mut senders) = app();
    let (mut wire, _) = pipe(app);
    wire.handshake("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    let streaming = tokio::spawn(async move {
        for _ in 0..300 {
            sender.ready().await?;
            sender.send_bytes(vec![0; 32 * 1024]).await?;
        }
        Ok::<_, Error>(())
    });
    pause(50).await;
    assert!(!streaming.is_finished(), "10 MB went to a peer that reads nothing");
    for _ in 0..300 {
        wire.frame().await.unwrap();
    }
    within(streaming).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_larger_than_the_queue_still_goes_to_a_peer_that_reads() {
    let (app, mut senders) = app();
    let server = serve(app).await;
    let mut wire = server.upgrade("/ws").await;
    let sender = within(senders.recv()).await.unwrap();
    sender.send_bytes(vec![3; 3 * MIB]).await.unwrap();
    assert_eq!(wire.frame().await.unwrap().payload.len(), 3 * MIB);
    assert!(sender.is_open());
}

#[tokio::test]
async fn a_loop_that_sends_without_ever_waiting_does_not_drown_peers_that_read() {
    let (app, mut senders) = app();
    let client = TestClient::new(app);
    let mut websocket = client.connect("/ws").await.unwrap();
    let sender = senders.recv().await.unwrap();
    let reader = tokio::spawn(async move {
        let mut count = 0;
        while count < 20_000 {
            assert_eq!(websocket.receive_json::<u32>().await.unwrap(), count);
            count += 1;
        }
    });
    for i in 0..20_000 {
        sender.send_text(format!("{i:>100}")).await.unwrap();
    }
    within(reader).await.unwrap();
}
