//! An engine that does less than it should, one call at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use nexios::backplane::{
    Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, Memory, MemoryNode, NodeId, Outgoing, Page, Place,
};
use nexios::prelude::*;
use nexios::testing::TestClient;

use super::{Client, Command, Setup, eventually, have_met, is_gap, text_of};

#[derive(Clone)]
struct Faulty(Arc<Faults>);

struct Faults {
    engine: MemoryNode,
    refuses: AtomicBool,
    /// Publishes, and fails a little later.
    forgets: AtomicBool,
    /// Of the next call with several messages, the first fails.
    skips: AtomicBool,
    /// The same of messages that are to be kept.
    skips_kept: AtomicBool,
    /// What is to be kept fails.
    keeps_nothing: AtomicBool,
    /// The next of it is refused.
    refuses_to_keep: AtomicBool,
    /// So many reads fail.
    unreadable: AtomicUsize,
    calls: AtomicUsize,
}

impl Faulty {
    fn new(engine: MemoryNode) -> Self {
        let (refuses, forgets, skips, skips_kept, keeps_nothing) = Default::default();
        let (refuses_to_keep, unreadable, calls) = Default::default();
        Self(Arc::new(Faults {
            engine,
            refuses,
            forgets,
            skips,
            skips_kept,
            keeps_nothing,
            refuses_to_keep,
            unreadable,
            calls,
        }))
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
        let is_kept = messages.iter().any(|message| message.keep.is_some());
        if self.0.refuses.load(Ordering::Relaxed) || is_kept && self.0.refuses_to_keep.swap(false, Ordering::Relaxed) {
            return Box::pin(async { messages.iter().map(|_| Err(BackplaneError::refused("no"))).collect() });
        }
        if is_kept && self.0.keeps_nothing.load(Ordering::Relaxed) {
            return Box::pin(async { messages.iter().map(|_| Err(BackplaneError::unavailable("full"))).collect() });
        }
        let skips = if is_kept { &self.0.skips_kept } else { &self.0.skips };
        if messages.len() > 1 && skips.swap(false, Ordering::Relaxed) {
            return Box::pin(async {
                let mut results = vec![Err(BackplaneError::unavailable("skipped"))];
                results.extend(self.0.engine.publish(&messages[1..]).await);
                results
            });
        }
        if !self.0.forgets.load(Ordering::Relaxed) {
            return self.0.engine.publish(messages);
        }
        Box::pin(async {
            self.0.engine.publish(messages).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            messages.iter().map(|_| Err(BackplaneError::unavailable("lost"))).collect()
        })
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

/// An app of the setup with this engine.
fn app(setup: &Setup, faulty: &Faulty) -> App {
    setup.app(&faulty.0.engine).backplane(faulty.clone())
}

async fn member(client: &TestClient, group: &str) -> Client {
    let mut member = Client::new(client.connect("/").await.unwrap());
    member.join(group).await;
    member
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

#[tokio::test]
async fn who_has_a_message_from_the_engine_does_not_get_it_again_when_the_answer_is_lost() {
    let faulty = Faulty::new(Memory::new().node());
    let client = TestClient::new(app(&Setup::new(), &faulty));
    let (mut ann, mut bob) = (member(&client, "h").await, member(&client, "h").await);
    ann.say("h", "before").await;
    faulty.0.forgets.store(true, Ordering::Relaxed);
    ann.say("h", "once").await;
    assert_eq!(bob.texts(2).await, ["before", "once"]);
    bob.silence().await;
}

#[tokio::test]
async fn a_read_that_fails_while_the_engine_is_there_is_tried_again() {
    let memory = Memory::new();
    let faulty = Faulty::new(memory.node());
    let other = Setup::new().node(&memory);
    let client = TestClient::new(app(&Setup::new(), &faulty));
    let mut bob = member(&client, "h").await;
    let mut ann = other.connect().await;
    ann.say("h", "before").await;
    assert_eq!(bob.texts(1).await, ["before"]);
    faulty.0.engine.deafen();
    ann.say("h", "missed").await;
    faulty.0.unreadable.store(2, Ordering::Relaxed);
    faulty.0.engine.heal();
    assert_eq!(bob.texts(1).await, ["missed"], "nothing else is published that would show the gap");
}

#[tokio::test]
async fn a_message_that_a_later_one_has_overtaken_is_a_gap_that_is_told() {
    let memory = Memory::new();
    let faulty = Faulty::new(memory.node());
    let other = Setup::new().node(&memory);
    // No sign of life is to be published meanwhile.
    let setup = Setup::new();
    let setup = Setup { backplane: setup.backplane.clone().node_ttl(Duration::from_mins(10)), ..setup };
    let app = app(&setup, &faulty);
    let (room, handle) = (app.groups().group("room"), app.handle());
    let _client = TestClient::new(app);
    let mut bob = other.connect().await;
    bob.join_with(Command { join: Some("room".into()), notices: true, ..Command::default() }).await;
    let is_there = || handle.backplane().is_some_and(|status| status.away.is_none() && status.published > 0);
    eventually("the node has said that it is there", async || is_there()).await;
    faulty.0.engine.freeze();
    room.send_text("0").await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    faulty.0.skips.store(true, Ordering::Relaxed);
    for text in ["1", "2"] {
        room.send_text(text).await.unwrap();
    }
    faulty.0.engine.heal();
    bob.until(|message| text_of(message).as_deref() == Some("2")).await;
    bob.until(is_gap).await;
}

#[tokio::test]
async fn an_engine_that_cannot_keep_anything_passes_on_the_rest() {
    let memory = Memory::new();
    let faulty = Faulty::new(memory.node());
    let other = Setup::new().node(&memory);
    let client = TestClient::new(app(&Setup::new(), &faulty));
    let mut ann = member(&client, "h").await;
    let mut bob = other.member("room").await;
    have_met(&client.handle(), &other.handle).await;
    faulty.0.keeps_nothing.store(true, Ordering::Relaxed);
    for number in 0..3 {
        ann.say("h", "kept").await;
        ann.say("room", &number.to_string()).await;
        // Longer than a node may be silent.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(bob.texts(3).await, ["0", "1", "2"]);
    let (here, there) = (client.handle().backplane().unwrap(), other.handle.backplane().unwrap());
    assert!(here.away.as_ref().is_some_and(|reason| reason.ends_with("full")), "{here:?}");
    assert_eq!((here.nodes, there.nodes), (1, 1), "and nobody counts as gone");
    faulty.0.keeps_nothing.store(false, Ordering::Relaxed);
    eventually("it is there again", async || client.handle().backplane().unwrap().away.is_none()).await;
}

#[tokio::test]
async fn what_the_engine_refuses_after_members_have_it_is_a_gap_for_others() {
    let memory = Memory::new();
    let faulty = Faulty::new(memory.node());
    let other = Setup::new().node(&memory);
    let client = TestClient::new(app(&Setup::new(), &faulty));
    let (mut ann, mut bob) = (member(&client, "h").await, other.member("h").await);
    faulty.0.keeps_nothing.store(true, Ordering::Relaxed);
    assert_eq!(ann.say("h", "only here").await.len(), 1);
    faulty.0.refuses_to_keep.store(true, Ordering::Relaxed);
    eventually("it is refused", async || client.handle().backplane().unwrap().lost > 0).await;
    faulty.0.keeps_nothing.store(false, Ordering::Relaxed);
    ann.say("h", "after").await;
    bob.until(is_gap).await;
    bob.until(|message| text_of(message).as_deref() == Some("after")).await;
}

#[tokio::test]
async fn what_a_later_message_has_overtaken_is_no_double_when_it_is_for_no_group() {
    let memory = Memory::new();
    let faulty = Faulty::new(memory.node());
    let other = Setup::new().node(&memory);
    let client = TestClient::new(app(&Setup::new(), &faulty));
    have_met(&client.handle(), &other.handle).await;
    let mut bob = other.connect_to("/?user=bob").await;
    bob.join("room").await;
    faulty.0.engine.freeze();
    // The first is on its way, and the two behind it are published together.
    client.handle().send_to_user("nobody", "0");
    tokio::time::sleep(Duration::from_millis(30)).await;
    faulty.0.skips.store(true, Ordering::Relaxed);
    client.handle().send_to_user("bob", "1");
    client.handle().send_to_user("bob", "2");
    faulty.0.engine.heal();
    let mut texts = bob.texts(2).await;
    texts.sort();
    assert_eq!(texts, ["1", "2"]);
}

#[tokio::test]
async fn a_kept_message_that_a_later_one_has_overtaken_is_a_gap_that_is_told() {
    let memory = Memory::new();
    let faulty = Faulty::new(memory.node());
    let other = Setup::new().node(&memory);
    let app = app(&Setup::new(), &faulty);
    let (room, handle) = (app.groups().group("h"), app.handle());
    let _client = TestClient::new(app);
    let mut bob = other.member("h").await;
    eventually("the engine is there", async || handle.backplane().is_some_and(|status| status.away.is_none())).await;
    faulty.0.engine.freeze();
    let send = |text: &'static str| {
        let room = room.clone();
        tokio::spawn(async move { room.send_text(text).await })
    };
    // The first is on its way, and the two behind it are published together.
    let first = send("0");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sending = [first, send("1"), send("2")];
    tokio::time::sleep(Duration::from_millis(200)).await;
    faulty.0.skips_kept.store(true, Ordering::Relaxed);
    faulty.0.engine.heal();
    for sent in sending {
        sent.await.unwrap().unwrap();
    }
    bob.until(is_gap).await;
    room.send_text("after").await.unwrap();
    bob.until(|message| text_of(message).as_deref() == Some("after")).await;
}
