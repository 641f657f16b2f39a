//! An engine that does less than it should, one call at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nexios::backplane::{
    Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, Memory, MemoryNode, NodeId, Outgoing, Page, Place,
};
use nexios::prelude::*;
use nexios::testing::TestClient;

use super::{Setup, eventually, is_gap, text_of};

#[derive(Clone)]
struct Faulty(Arc<Faults>);

struct Faults {
    engine: MemoryNode,
    refuses: AtomicBool,
    /// So many reads fail.
    unreadable: AtomicUsize,
    calls: AtomicUsize,
}

impl Faulty {
    fn new(engine: MemoryNode) -> Self {
        let (refuses, unreadable, calls) = Default::default();
        Self(Arc::new(Faults { engine, refuses, unreadable, calls }))
    }
}

impl Backplane for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn start(&self, node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        self.0.engine.start(node, events)
    }

    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        self.0.engine.subscribe(channels)
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        self.0.engine.unsubscribe(channels)
    }

    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.refuses.load(Ordering::Relaxed) {
            return Box::pin(async { messages.iter().map(|_| Err(BackplaneError::refused("no"))).collect() });
        }
        self.0.engine.publish(messages)
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        keep: Keep,
        since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        let left = self.0.unreadable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => Box::pin(async { Err(BackplaneError::unavailable("busy")) }),
            Err(_) => self.0.engine.read(channel, keep, since),
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.engine.stop()
    }
}

/// A node of the setup with this engine.
fn app(setup: &Setup, faulty: &Faulty) -> App {
    setup.app(&faulty.0.engine).backplane(faulty.clone())
}

#[tokio::test]
async fn an_engine_that_refuses_everything_is_not_asked_without_end() {
    let faulty = Faulty::new(Memory::new().node());
    faulty.0.refuses.store(true, Ordering::Relaxed);
    let app = App::new().backplane(faulty.clone());
    let groups = app.groups();
    let _client = TestClient::new(app);
    groups.group("room").send_text("refused").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let calls = faulty.0.calls.load(Ordering::Relaxed);
    assert!(calls < 20, "{calls} calls");
}

#[tokio::test]
async fn an_app_that_is_gone_leaves_nothing_of_its_node() {
    let faulty = Faulty::new(Memory::new().node());
    let engine: Weak<Faults> = Arc::downgrade(&faulty.0);
    let app = app(&Setup::new(), &faulty);
    let groups = app.groups();
    let client = TestClient::new(app);
    for name in ["room", "h"] {
        groups.group(name).send_text("hello").await.unwrap();
    }
    drop((client, groups, faulty));
    eventually("its thread has ended", async || engine.strong_count() == 0).await;
}
