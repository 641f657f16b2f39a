//! What moves with each message.

use std::time::Duration;

use nexios::prelude::*;

use super::scrape::{scrape, scrape_until};
use crate::programs::echo;
use crate::serving::{pause, serve};
use crate::wire::{PING, Wire, close, frame, text};

fn series(name: &str, route: &str) -> String {
    format!("{name}{{route=\"{route}\"}}")
}

#[tokio::test]
async fn messages_and_bytes_are_counted_as_they_came_and_went() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/echo", echo)).await;
    let mut wire = server.upgrade("/m/echo").await;
    let (mut sent, mut received) = (0, 0);
    let large = "x".repeat(70_000);
    for words in ["one", "", "three", large.as_str()] {
        let bytes = text(words);
        sent += bytes.len();
        wire.send(bytes).await;
        assert_eq!(wire.text().await, words);
        // A server's header has no mask.
        received += text(words).len() - 4;
    }
    let ping = frame(PING, "p");
    sent += ping.len();
    wire.send(ping).await;
    wire.frame().await.unwrap();
    received += 3;
    let open = scrape(&server).await;
    open.check(&series("nexios_connections", "/m/echo"), 1.0);
    open.check(&series("nexios_messages_received_total", "/m/echo"), 4.0);
    open.check(&series("nexios_messages_sent_total", "/m/echo"), 4.0);
    open.check(&series("nexios_received_bytes_total", "/m/echo"), f64::from(sent as u32));
    open.check(&series("nexios_sent_bytes_total", "/m/echo"), f64::from(received as u32));
    open.check(&series("nexios_connection_seconds_count", "/m/echo"), 0.0);

    wire.send(close(1000, "")).await;
    wire.close_frame().await;
    let ended = scrape_until(&server, &series("nexios_connections", "/m/echo"), 0.0).await;
    ended.check("nexios_handshakes_total{route=\"/m/echo\",outcome=\"accepted\"}", 1.0);
    ended.check(&series("nexios_received_bytes_total", "/m/echo"), f64::from(sent as u32 + 8));
    ended.check(&series("nexios_sent_bytes_total", "/m/echo"), f64::from(received as u32 + 4));
    ended.check(&series("nexios_connection_seconds_count", "/m/echo"), 1.0);
    ended.check(&series("nexios_handler_seconds_count", "/m/echo"), 4.0);
}

#[tokio::test]
async fn sixteen_messages_in_one_read_are_sixteen() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/batch", echo)).await;
    let mut wire = server.upgrade("/m/batch").await;
    wire.send(text("again").repeat(16)).await;
    for _ in 0..16 {
        wire.text().await;
    }
    let scrape = scrape(&server).await;
    for name in ["nexios_messages_received_total", "nexios_messages_sent_total", "nexios_handler_seconds_count"] {
        scrape.check(&series(name, "/m/batch"), 16.0);
    }
}

/// Sleeps for each message as long as it says.
async fn sleepy(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    while let Ok(text) = websocket.receive_text().await {
        pause(text.parse().unwrap()).await;
        websocket.send_text("awake").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_handlers_time_is_from_its_message_to_its_asking_for_the_next() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/sleepy", sleepy)).await;
    let mut wire = server.upgrade("/m/sleepy").await;
    // The last two wait behind the first, which is not their handler's time.
    wire.send([text("120"), text("0"), text("0")].concat()).await;
    for _ in 0..3 {
        wire.text().await;
    }
    let count = series("nexios_handler_seconds_count", "/m/sleepy");
    let scrape = scrape_until(&server, &count, 3.0).await;
    let bucket = |le: &str| scrape.value(&format!("nexios_handler_seconds_bucket{{route=\"/m/sleepy\",le=\"{le}\"}}"));
    assert!((bucket("0.1") - 2.0).abs() < 0.5, "{}", scrape.text);
    let sum = scrape.value(&series("nexios_handler_seconds_sum", "/m/sleepy"));
    assert!((0.12..2.0).contains(&sum), "{sum}");
}

/// Joins a group and says so.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("g").join(&websocket).await?;
    websocket.send_text("joined").await?;
    websocket.receive().await.map(drop)
}

#[tokio::test]
async fn a_broadcast_counts_once_for_each_member_however_it_was_merged() {
    let app = App::new().metrics("/metrics").websocket_route("/m/group", member).websocket_route("/m/other", member);
    let group = app.groups().group("g");
    let server = serve(app).await;
    let mut wires = Vec::new();
    for at in 0..20 {
        let mut wire = server.upgrade(if at % 2 == 0 { "/m/group" } else { "/m/other" }).await;
        assert_eq!(wire.text().await, "joined");
        wires.push(wire);
    }
    for _ in 0..5 {
        group.send_text("news").await.unwrap();
    }
    for wire in &mut wires {
        for _ in 0..5 {
            assert_eq!(wire.text().await, "news");
        }
    }
    let scrape = scrape(&server).await;
    for route in ["/m/group", "/m/other"] {
        scrape.check(&series("nexios_messages_sent_total", route), 60.0);
        scrape.check(&series("nexios_connections", route), 10.0);
    }
    assert!(scrape.value("nexios_group_publications_total") >= 5.0);
    assert!(scrape.value("nexios_group_members") >= 20.0);
    assert!(scrape.value("nexios_groups") >= 1.0);
}

/// Sends to itself, as others would, what nobody reads: as much as it is told, in pieces of 64 KiB.
async fn flood(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let pieces: u32 = websocket.receive_text().await?.parse().map_err(Error::other)?;
        for _ in 0..pieces {
            // One that is dropped is an error, which is not the end.
            let _ = websocket.sender().send_bytes(vec![0; 64 * 1024]).await;
        }
    }
}

async fn until_settled(server: &crate::serving::Running, wire: &mut Wire, route: &str) -> f64 {
    let mut last = 0.0;
    for _ in 0..100 {
        wire.send(text("16")).await;
        pause(20).await;
        let now = scrape(server).await.value(&series("nexios_messages_dropped_total", route));
        // Nothing finds room any more.
        if (now - last - 16.0).abs() < 0.5 {
            return now;
        }
        last = now;
    }
    panic!("nothing was dropped");
}

#[tokio::test]
async fn what_waits_and_what_is_dropped_shows_for_a_peer_that_does_not_read() {
    let config = Config::new().slow_consumer(SlowConsumer::DropNewest).outbound_queue(256 * 1024);
    let app = App::new().metrics("/metrics").config(config).websocket_route("/m/drops", flood);
    let server = serve(app).await;
    let mut wire = server.upgrade("/m/drops").await;
    let dropped = until_settled(&server, &mut wire, "/m/drops").await;
    let before = scrape(&server).await;
    for name in ["nexios_queued_bytes", "nexios_queued_bytes_max"] {
        let queued = before.value(&series(name, "/m/drops"));
        assert!((64.0 * 1024.0..=512.0 * 1024.0).contains(&queued), "{name} {queued}");
    }
    wire.send(text("10")).await;
    scrape_until(&server, &series("nexios_messages_dropped_total", "/m/drops"), dropped + 10.0).await;
}

#[tokio::test]
async fn a_slow_consumer_that_is_closed_shows_as_the_cause() {
    let config = Config::new().outbound_queue(256 * 1024).close_timeout(Duration::from_millis(50));
    let app = App::new().metrics("/metrics").config(config).websocket_route("/m/slow", flood);
    let server = serve(app).await;
    let mut wire = server.upgrade("/m/slow").await;
    wire.send(text("1000")).await;
    let end = "nexios_disconnects_total{route=\"/m/slow\",cause=\"slow consumer\",by=\"server\",code=\"4430\"}";
    scrape_until(&server, end, 1.0).await;
}
