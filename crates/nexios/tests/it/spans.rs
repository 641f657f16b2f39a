//! The span around each connection, and what stands in it and in the log.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};

use nexios::ServerConfig;
use nexios::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use crate::serving::{Running, serve};
use crate::wire::{Wire, close, raw_frame, request, text};

/// Spans with their fields, and events with the span that they are in.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    spans: Vec<HashMap<String, String>>,
    /// Those that are entered, on the one thread of the test.
    entered: Vec<u64>,
    events: Vec<(Option<u64>, String)>,
    /// Nothing below is wanted.
    level: Option<Level>,
}

impl Spans {
    fn capture(level: Level) -> (Self, tracing::subscriber::DefaultGuard) {
        // As long as there is one subscriber only, `tracing` asks the thread that meets a span first, which may be another
        // test's, whether anybody wants it.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Spans::default()));
        LazyLock::force(&SECOND);
        let spans = Self::default();
        spans.0.lock().unwrap().level = Some(level);
        (spans.clone(), tracing::subscriber::set_default(spans))
    }

    /// The connections' spans.
    fn connections(&self) -> Vec<HashMap<String, String>> {
        let state = self.0.lock().unwrap();
        state.spans.iter().filter(|span| span["name"] == "connection").cloned().collect()
    }

    /// The span that an event with this text is in.
    fn around(&self, text: &str) -> Option<HashMap<String, String>> {
        let state = self.0.lock().unwrap();
        let (span, _) = state.events.iter().find(|(_, event)| event.contains(text))?;
        Some(state.spans[usize::try_from((*span)?).unwrap() - 1].clone())
    }

    fn text(&self) -> String {
        let state = self.0.lock().unwrap();
        format!("{:?}{:?}", state.spans, state.events)
    }
}

struct Fields<'a>(&'a mut HashMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.lock().unwrap().level.is_some_and(|level| *metadata.level() <= level)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut state = self.0.lock().unwrap();
        let mut fields = HashMap::from([("name".to_owned(), attributes.metadata().name().to_owned())]);
        attributes.record(&mut Fields(&mut fields));
        fields.insert("root".to_owned(), attributes.is_root().to_string());
        state.spans.push(fields);
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let span = usize::try_from(id.into_u64()).unwrap() - 1;
        values.record(&mut Fields(&mut self.0.lock().unwrap().spans[span]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = HashMap::new();
        event.record(&mut Fields(&mut fields));
        let mut state = self.0.lock().unwrap();
        let around = state.entered.last().copied();
        state.events.push((around, format!("{fields:?}")));
    }

    fn enter(&self, id: &Id) {
        self.0.lock().unwrap().entered.push(id.into_u64());
    }

    fn exit(&self, id: &Id) {
        let left = self.0.lock().unwrap().entered.pop();
        assert_eq!(left, Some(id.into_u64()));
    }
}

/// Logs what it receives, before and after it waits.
async fn talkative(mut websocket: WebSocket) -> nexios::Result {
    tracing::info!("handshake");
    websocket.accept().await?;
    loop {
        let text = websocket.receive_text().await?;
        tokio::task::yield_now().await;
        if text == "fail" {
            return Err(Error::other("as asked"));
        }
        tracing::info!(%text, "handled");
        websocket.send_text(text).await?;
    }
}

async fn server() -> Running {
    serve(App::new().websocket_route("/rooms/{room}", talkative)).await
}

#[tokio::test]
async fn what_a_handler_logs_is_in_its_connections_span() {
    let (spans, _guard) = Spans::capture(Level::INFO);
    let server = server().await;
    let (mut first, mut second) = (server.upgrade("/rooms/a").await, server.upgrade("/rooms/b").await);
    for (wire, words) in [(&mut first, "from the first"), (&mut second, "from the second")] {
        wire.send(text(words)).await;
        wire.text().await;
    }
    let address = first.stream.local_addr().unwrap().to_string();
    let (one, other) = (spans.around("from the first").unwrap(), spans.around("from the second").unwrap());
    assert_eq!((&*one["name"], &*one["route"], &*one["peer"]), ("connection", "\"/rooms/{room}\"", &*address));
    assert_ne!(one["id"], other["id"]);
    assert!(one["root"] == "true" && !one.contains_key("cause"), "{one:?}");
    assert_eq!(spans.around("handshake").unwrap()["id"], one["id"]);
}

#[tokio::test]
async fn its_end_is_logged_inside_of_it_and_noted_on_it() {
    for (bytes, cause, code) in [
        (close(1000, ""), "closed", "1000"),
        (raw_frame(0xFF, b""), "protocol error", "1002"),
        (text("fail"), "handler failed", "1011"),
    ] {
        let (spans, _guard) = Spans::capture(Level::DEBUG);
        let server = server().await;
        let mut wire = server.upgrade("/rooms/a").await;
        wire.send(bytes).await;
        wire.close_frame().await;
        drop(wire);
        server.wait_for_connections(0).await;
        let span = spans.connections().remove(0);
        assert_eq!((&*span["cause"], &*span["code"]), (&*format!("{cause:?}"), code));
        assert_eq!(spans.around("connection ended").unwrap()["id"], span["id"], "{cause}");
        if cause == "handler failed" {
            assert_eq!(spans.around("as asked").unwrap()["id"], span["id"]);
        }
    }
}

#[tokio::test]
async fn who_wants_only_warnings_has_no_spans() {
    let (spans, _guard) = Spans::capture(Level::WARN);
    let server = server().await;
    let mut wire = server.upgrade("/rooms/a").await;
    wire.send(text("x")).await;
    wire.text().await;
    assert!(spans.connections().is_empty());
}

#[tokio::test]
async fn a_secret_of_a_request_is_in_no_span_and_no_line() {
    let (spans, _guard) = Spans::capture(Level::TRACE);
    let server =
        serve(App::new().websocket_route("/rooms/{room}", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            websocket.receive_text().await.map(drop)
        }))
        .await;
    for frame in [close(4000, "bye"), raw_frame(0xFF, b"SECRET"), raw_frame(0x82, b"SECRET")] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(request("/rooms/SECRET?token=SECRET", &["Cookie: SECRET", "Authorization: Bearer SECRET"])).await;
        assert_eq!(wire.head().await.status, 101);
        wire.send(frame).await;
        wire.close_frame().await;
        drop(wire);
        server.wait_for_connections(0).await;
    }
    assert_eq!(spans.connections().len(), 3);
    assert!(!spans.text().contains("SECRET"), "{}", spans.text());
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_span_names_the_client_as_well() {
    let (spans, _guard) = Spans::capture(Level::INFO);
    let proxies = ServerConfig::new().trusted_proxies(["127.0.0.1"]);
    let server = serve(App::new().server_config(proxies).websocket_route("/", talkative)).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(request("/", &["X-Forwarded-For: 203.0.113.7"])).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(spans.connections()[0]["client"], "203.0.113.7");
}
