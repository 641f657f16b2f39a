//! Shutting down: nobody is cut off, and nobody holds it up.

use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::Level;

use crate::logs::Logs;
use crate::outcome::{code, ending};
use crate::programs::echo;
use crate::serving::{pause, serve, within};
use crate::wire::{Wire, close, upgrade_request};

#[tokio::test]
async fn shutdown_closes_every_connection_with_1001_and_serve_returns() {
    let (logs, _guard) = Logs::capture();
    let app = App::new().websocket_route("/ws", echo).on_error(|error| panic!("on_error saw {error}"));
    let server = serve(app).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(nexios::client::connect(server.url("/ws")).await.unwrap());
    }
    assert_eq!(server.handle.connection_count(), 20);
    server.handle.shutdown();
    for websocket in &mut sockets {
        let end = ending(within(websocket.receive()).await);
        assert_eq!((u16::from(end.code()), end.is_normal()), (1001, true));
    }
    within(server.serving).await.unwrap().unwrap();
    assert_eq!(server.handle.connection_count(), 0);
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is still open");
    assert_eq!(logs.at(Level::WARN), Vec::<String>::new());
}

#[tokio::test]
async fn what_was_queued_leaves_before_the_close_frame() {
    let server = serve(App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        for i in 0..300_u32 {
            websocket.sender().send_bytes(i.to_be_bytes().repeat(250)).await?;
        }
        websocket.receive().await.map(|_| ())
    }))
    .await;
    let mut wire = server.upgrade("/ws").await;
    pause(50).await;
    server.handle.shutdown();
    for i in 0..300_u32 {
        assert_eq!(wire.frame().await.unwrap().payload[..4], i.to_be_bytes());
    }
    assert_eq!(wire.close_frame().await.0, 1001);
    wire.send(close(1001, "")).await;
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_handler_learns_of_it_and_may_finish_its_work() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let server = serve(App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        let end = ending(websocket.receive().await);
        pause(100).await;
        seen.send((end.cause(), end.ended_by())).unwrap();
        Ok(())
    }))
    .await;
    let websocket = nexios::client::connect(server.url("/ws")).await.unwrap();
    server.handle.shutdown();
    within(server.serving).await.unwrap().unwrap();
    // Serving went on until the handler had returned.
    assert_eq!(see.try_recv().unwrap(), (Cause::Shutdown, EndedBy::Local));
    drop(websocket);
}

#[tokio::test]
async fn a_send_during_the_shutdown_is_an_error_not_a_panic() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let client =
        TestClient::new(App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            loop {
                if let Err(error) = websocket.send_text("tick").await {
                    seen.send(ending::<()>(Err(error)).cause()).unwrap();
                    return Ok(());
                }
                pause(1).await;
            }
        }));
    let _websocket = client.connect("/ws").await.unwrap();
    client.handle().shutdown();
    assert_eq!(within(see.recv()).await.unwrap(), Cause::Shutdown);
}

#[tokio::test]
async fn idle_http_connections_do_not_hold_it_up() {
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    let mut idle = Wire::connect(server.address).await;
    idle.send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(idle.head().await.status, 404);
    let mut silent = Wire::connect(server.address).await;
    pause(20).await;
    server.handle.shutdown();
    within(server.serving).await.unwrap().unwrap();
    idle.rest().await;
    silent.rest().await;
}

#[tokio::test]
async fn a_handshake_that_is_being_decided_is_answered_and_then_closed_with_1001() {
    let server = serve(App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        pause(100).await;
        websocket.accept().await?;
        websocket.receive().await.map(|_| ())
    }))
    .await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/ws")).await;
    server.wait_for_connections(1).await;
    server.handle.shutdown();
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.close_frame().await.0, 1001);
    wire.send(close(1001, "")).await;
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_returns_holds_it_up_for_10_s_at_most() {
    let (logs, _guard) = Logs::capture();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        std::future::pending().await
    });
    let handle = app.handle();
    let serving = tokio::spawn(app.serve(listener));
    // Not through tokio: with a stopped clock, its timers would be faster than the socket.
    let peer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(upgrade_request("/ws").as_bytes()).unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).unwrap();
        stream
    });
    let stream = peer.await.unwrap();
    let began = tokio::time::Instant::now();
    handle.shutdown();
    serving.await.unwrap().unwrap();
    let waited = began.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&waited), "{waited:?}");
    assert_eq!(logs.at(Level::WARN).len(), 1);
    drop(stream);
}

#[tokio::test]
async fn a_peer_that_never_closes_is_cut_off_and_does_not_hold_it_up() {
    let config = Config::new().close_timeout(Duration::from_millis(200));
    let server = serve(App::new().config(config).websocket_route("/ws", echo)).await;
    let mut wire = server.upgrade("/ws").await;
    server.handle.shutdown();
    assert_eq!(wire.close_frame().await.0, 1001);
    within(server.serving).await.unwrap().unwrap();
    let mut byte = [0];
    assert_eq!(within(wire.stream.read(&mut byte)).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn shutdown_before_serving_and_twice_is_no_trouble() {
    let app = App::new().websocket_route("/ws", echo);
    let handle = app.handle();
    handle.shutdown();
    handle.shutdown();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    within(app.serve(listener)).await.unwrap();
}

#[tokio::test]
async fn run_inside_a_runtime_is_an_error_that_says_what_to_use() {
    let error = App::new().websocket_route("/ws", echo).bind("127.0.0.1:0").run().unwrap_err();
    assert!(error.to_string().contains("serve"), "{error}");
}

#[tokio::test]
async fn a_runtime_that_ends_ends_its_connections_for_those_who_hold_senders() {
    let (seen, mut see) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = App::new().websocket_route("/ws", async move |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        seen.send(websocket.sender()).unwrap();
        websocket.receive().await.map(|_| ())
    });
    let client = TestClient::new(app);
    let websocket = runtime.spawn(async move { client.connect("/ws").await.unwrap() });
    let websocket = within(websocket).await.unwrap();
    let sender = within(see.recv()).await.unwrap();
    runtime.shutdown_background();
    let end = within(sender.closed()).await;
    assert!(!sender.is_open() && sender.send_text("too late").await.is_err());
    assert_ne!(u16::from(end.code()), 0);
    drop(websocket);
    assert_ne!(code(sender.send_text("still too late").await), 0);
}

#[tokio::test]
async fn clients_are_told_a_moment_of_their_own_to_come_back() {
    let config = nexios::ServerConfig::new().drain_code(1012).reconnect_within(Duration::from_mins(1));
    let server = serve(App::new().server_config(config).websocket_route("/ws", echo)).await;
    let mut sockets = Vec::new();
    for _ in 0..30 {
        sockets.push(nexios::client::connect(server.url("/ws")).await.unwrap());
    }
    server.handle.shutdown();
    let mut moments = Vec::new();
    for websocket in &mut sockets {
        let end = ending(within(websocket.receive()).await);
        assert_eq!(u16::from(end.code()), 1012);
        let moment = end.reason().strip_prefix("server is shutting down, reconnect in ").unwrap();
        moments.push(moment.strip_suffix(" ms").unwrap().parse::<u32>().unwrap());
    }
    assert!(moments.iter().all(|moment| *moment <= 60_000));
    let halves = moments.iter().filter(|moment| **moment < 30_000).count();
    assert!((2..=28).contains(&halves), "{moments:?}");
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_connections_are_closed_in_batches() {
    const MANY: usize = 1_200;
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    let mut sockets = Vec::new();
    for _ in 0..MANY {
        sockets.push(nexios::client::connect(server.url("/ws")).await.unwrap());
    }
    server.wait_for_connections(MANY).await;
    let began = std::time::Instant::now();
    server.handle.shutdown();
    let mut at = Vec::new();
    for mut websocket in sockets {
        at.push(tokio::spawn(async move {
            let end = ending(websocket.receive().await);
            assert_eq!(end.cause(), Cause::Closed);
            began.elapsed().as_millis()
        }));
    }
    let mut moments = Vec::new();
    for task in at {
        moments.push(within(task).await.unwrap());
    }
    moments.sort_unstable();
    // The third batch comes two pauses after the first one.
    assert!(moments[MANY - 1] - moments[0] >= 80, "{:?}", (moments[0], moments[MANY - 1]));
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn before_it_closes_the_door_a_server_may_stay_open_for_a_while() {
    let config = nexios::ServerConfig::new().drain_delay(Duration::from_millis(400));
    let server = serve(App::new().server_config(config).websocket_route("/ws", echo)).await;
    let mut first = nexios::client::connect(server.url("/ws")).await.unwrap();
    server.handle.shutdown();
    assert!(server.handle.is_shutting_down());
    let mut second = nexios::client::connect(server.url("/ws")).await.unwrap();
    second.send_text("in time").await.unwrap();
    assert_eq!(within(second.receive_text()).await.unwrap(), "in time");
    for websocket in [&mut first, &mut second] {
        assert_eq!(code(within(websocket.receive()).await), 1001);
    }
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_reaches_every_member_also_when_these_are_closed_in_batches() {
    const MEMBERS: usize = 1_200;
    const PUBLISHERS: usize = 8;
    let member = async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        websocket.groups().group("news").join(&websocket).await?;
        websocket.receive().await.map(drop)
    };
    let publisher = async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        loop {
            let number = websocket.receive_text().await?;
            websocket.groups().group("news").send_text(number.clone()).await?;
            websocket.send_text(number).await?;
        }
    };
    let config = nexios::ServerConfig::new().drain_deadline(Duration::from_secs(5));
    let app =
        App::new().server_config(config).websocket_route("/member", member).websocket_route("/publish", publisher);
    let server = serve(app).await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut websocket = nexios::client::connect(server.url("/member")).await.unwrap();
        members.push(tokio::spawn(async move {
            let mut last = [None; PUBLISHERS];
            loop {
                match websocket.receive_text().await {
                    Ok(text) => {
                        let (publisher, number) = text.split_once(' ').unwrap();
                        last[publisher.parse::<usize>().unwrap()] = Some(number.parse::<u32>().unwrap());
                    }
                    end => return (last, code(end)),
                }
            }
        }));
    }
    while server.handle.connection_count() < MEMBERS {
        pause(5).await;
    }
    // Several, so that some are still open when the first batch is closed.
    let mut publishers = Vec::new();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    for publisher in 0..PUBLISHERS {
        let mut websocket = nexios::client::connect(server.url("/publish")).await.unwrap();
        let count = count.clone();
        publishers.push(tokio::spawn(async move {
            let mut acknowledged = None;
            for number in 0..u32::MAX {
                if websocket.send_text(format!("{publisher} {number}")).await.is_err() {
                    break;
                }
                match websocket.receive_text().await {
                    Ok(_) => {
                        acknowledged = Some(number);
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    end => return (acknowledged, code(end)),
                }
            }
            (acknowledged, 0)
        }));
    }
    while count.load(std::sync::atomic::Ordering::Relaxed) < 40 {
        pause(5).await;
    }
    server.handle.shutdown();
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        let (last, code) = within(publisher).await.unwrap();
        assert!(matches!(code, 0 | 1001), "{code}");
        acknowledged.push(last);
    }
    for member in members {
        let (last, code) = within(member).await.unwrap();
        assert_eq!(code, 1001);
        // What was not acknowledged may have come as well.
        assert!(last.iter().zip(&acknowledged).all(|(heard, sent)| heard >= sent), "{last:?} of {acknowledged:?}");
    }
    within(server.serving).await.unwrap().unwrap();
}
