//! What `/metrics` shows, and what it does not.

use nexios::prelude::*;

use super::scrape::{get, scrape};
use crate::programs::echo;
use crate::serving::{serve, within};
use crate::wire::{Wire, request, text};

#[tokio::test]
async fn every_metric_is_there_with_its_help_from_the_first_connection_on() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/all", echo)).await;
    let mut wire = server.upgrade("/m/all").await;
    wire.send(text("x")).await;
    wire.text().await;
    let scrape = scrape(&server).await;
    for name in [
        "nexios_connections{route=\"/m/all\"}",
        "nexios_handshakes_total{route=\"/m/all\",outcome=\"accepted\"}",
        "nexios_messages_received_total{route=\"/m/all\"}",
        "nexios_messages_sent_total{route=\"/m/all\"}",
        "nexios_messages_dropped_total{route=\"/m/all\"}",
        "nexios_received_bytes_total{route=\"/m/all\"}",
        "nexios_sent_bytes_total{route=\"/m/all\"}",
        "nexios_queued_bytes{route=\"/m/all\"}",
        "nexios_queued_bytes_max{route=\"/m/all\"}",
        "nexios_handler_seconds_bucket{route=\"/m/all\",le=\"+Inf\"}",
        "nexios_connection_seconds_bucket{route=\"/m/all\",le=\"3600\"}",
        "nexios_groups",
        "nexios_group_members",
        "nexios_group_publications_total",
        "nexios_group_history_bytes",
        "nexios_accept_errors_total",
        "nexios_start_time_seconds",
    ] {
        assert!(scrape.samples.contains_key(name), "{name}\n{}", scrape.text);
    }
    scrape.check(&format!("nexios_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
}

#[tokio::test]
async fn what_the_program_counts_itself_is_shown_beside() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/own", echo)).await;
    metrics::counter!("orders_total", "kind" => "test").increment(3);
    scrape(&server).await.check("orders_total{kind=\"test\"}", 3.0);
}

#[tokio::test]
async fn nothing_that_a_client_wrote_becomes_a_label() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/rooms/{room}", echo)).await;
    for attempt in 0..3 {
        let mut wire = Wire::connect(server.address).await;
        let path = format!("/m/rooms/SECRET{attempt}?token=SECRET");
        wire.send(request(&path, &["Authorization: Bearer SECRET", "User-Agent: SECRET"])).await;
        assert_eq!(wire.head().await.status, 101);
        wire.send(text("SECRET")).await;
        wire.text().await;
    }
    let scrape = scrape(&server).await;
    scrape.check("nexios_handshakes_total{route=\"/m/rooms/{room}\",outcome=\"accepted\"}", 3.0);
    assert!(!scrape.text.contains("SECRET"), "{}", scrape.text);
}

#[tokio::test]
async fn an_app_that_did_not_ask_is_neither_counted_nor_shown() {
    let silent = serve(App::new().websocket_route("/m/silent", echo)).await;
    let shown = serve(App::new().metrics("/metrics").websocket_route("/m/shown", echo)).await;
    assert_eq!(get(&silent, "/metrics").await.0, 404);
    for server in [(&silent, "/m/silent"), (&shown, "/m/shown")] {
        let mut wire = server.0.upgrade(server.1).await;
        wire.send(text("x")).await;
        wire.text().await;
    }
    let scrape = scrape(&shown).await;
    assert!(!scrape.text.contains("/m/silent"), "{}", scrape.text);
    scrape.check("nexios_messages_received_total{route=\"/m/shown\"}", 1.0);
}

#[tokio::test]
async fn apps_of_one_process_are_counted_together() {
    for expected in [1.0, 2.0] {
        let server = serve(App::new().metrics("/metrics").websocket_route("/m/twice", echo)).await;
        let mut wire = server.upgrade("/m/twice").await;
        wire.send(text("x")).await;
        wire.text().await;
        scrape(&server).await.check("nexios_messages_received_total{route=\"/m/twice\"}", expected);
    }
}

#[tokio::test]
async fn many_who_ask_at_once_share_a_page() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/shared", echo)).await;
    let asking = (0..200).map(|_| get(&server, "/metrics"));
    let pages = within(futures_util::future::join_all(asking)).await;
    assert!(pages.iter().all(|(status, _)| *status == 200));
    let mut texts: Vec<_> = pages.into_iter().map(|(_, text)| text).collect();
    // What another test counts meanwhile makes pages differ: those of one rendering are the same.
    texts.sort();
    texts.dedup();
    assert!(texts.len() < 100, "{} pages of 200", texts.len());
    // And it is as new as the question: this one is counted.
    let before = scrape(&server).await.value("nexios_handshakes_total{route=\"/m/shared\",outcome=\"accepted\"}");
    let _socket = server.upgrade("/m/shared").await;
    let after = scrape(&server).await.value("nexios_handshakes_total{route=\"/m/shared\",outcome=\"accepted\"}");
    assert!((after - before - 1.0).abs() < 0.1, "{before} {after}");
}
