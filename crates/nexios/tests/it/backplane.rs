//! The backplane of one process is one, and one that breaks a rule is found out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nexios::backplane::{
    BackplaneError, BoxFuture, Channel, Events, Keep, Memory, MemoryNode, NodeId, Outgoing, Page, Place, Prefix,
};
use nexios::testing::backplane;
use nexios::{Backplane, Position};

#[tokio::test]
async fn memory_does_what_every_backplane_must_do() {
    let memory = Memory::new();
    backplane::check(|prefix| memory.node().prefix(prefix)).await;
}

/// A rule that is broken, and a check that says so.
const BROKEN: [(Fault, &str); 9] = [
    (Fault::LosesOneInTen, "messages_of_a_node_arrive_in_the_order_of_publishing"),
    (Fault::PublishesBackwards, "messages_of_a_node_arrive_in_the_order_of_publishing"),
    (Fault::PublishesTwice, "own_messages_arrive_at_most_once"),
    (Fault::AnswersBackwards, "each_message_of_a_batch_has_its_answer"),
    (Fault::ForgetsWhoPublished, "a_message_that_is_published_again_has_one_place"),
    (Fault::HasOnePrefix, "prefixes_never_meet"),
    (Fault::NeverUnsubscribes, "nothing_arrives_before_subscribing_or_after_unsubscribing"),
    (Fault::ReadsEverything, "what_is_behind_a_position_is_read"),
    (Fault::KeepsTooMuch, "too_many_messages_are_trimmed"),
];

#[tokio::test]
async fn each_broken_rule_is_found_by_its_check() {
    for (fault, check) in BROKEN {
        let memory = Memory::new();
        let connect = move |prefix| Broken::new(fault, &memory, prefix);
        // On a task of its own, because a failed check is a panic.
        let checked = tokio::task::LocalSet::new();
        let task = checked.spawn_local(async move { backplane::check_only(check, connect).await });
        let panic = checked.run_until(task).await.expect_err(check).into_panic();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains(check), "{fault:?}: {text}");
    }
}

#[tokio::test]
#[should_panic(expected = "there is no check with \"no such\" in its name")]
async fn a_check_that_is_not_there_is_no_success() {
    let memory = Memory::new();
    backplane::check_only("no such", |prefix| memory.node().prefix(prefix)).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LosesOneInTen,
    PublishesBackwards,
    PublishesTwice,
    AnswersBackwards,
    ForgetsWhoPublished,
    HasOnePrefix,
    NeverUnsubscribes,
    ReadsEverything,
    KeepsTooMuch,
}

/// Memory, with one rule broken.
struct Broken {
    fault: Fault,
    node: MemoryNode,
    published: AtomicUsize,
    renumbered: Mutex<u64>,
}

impl Broken {
    fn new(fault: Fault, memory: &Memory, prefix: Prefix) -> Self {
        let node = if fault == Fault::HasOnePrefix { memory.node() } else { memory.node().prefix(prefix) };
        Self { fault, node, published: AtomicUsize::new(0), renumbered: Mutex::new(0) }
    }

    fn changed(&self, messages: &[Outgoing]) -> Vec<Outgoing> {
        let mut messages = messages.to_vec();
        match self.fault {
            Fault::PublishesBackwards => messages.reverse(),
            Fault::ForgetsWhoPublished => {
                for message in &mut messages {
                    let mut last = self.renumbered.lock().unwrap();
                    *last += 1;
                    message.id.number = *last;
                }
            }
            Fault::KeepsTooMuch => {
                let keeps = messages.iter_mut().filter_map(|message| message.keep.as_mut());
                keeps.for_each(|keep| keep.messages = usize::MAX);
            }
            _ => {}
        }
        messages
    }

    fn is_lost(&self) -> bool {
        self.fault == Fault::LosesOneInTen && self.published.fetch_add(1, Ordering::Relaxed) % 10 == 9
    }
}

impl Backplane for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn start(&self, node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        self.node.start(node, events)
    }

    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        self.node.subscribe(channels)
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        if self.fault == Fault::NeverUnsubscribes {
            return Box::pin(async { Ok(()) });
        }
        self.node.unsubscribe(channels)
    }

    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        Box::pin(async move {
            let changed = self.changed(messages);
            let mut answers = Vec::new();
            for message in &changed {
                let once = std::slice::from_ref(message);
                if self.is_lost() {
                    answers.push(Ok(None));
                    continue;
                }
                answers.extend(self.node.publish(once).await);
                if self.fault == Fault::PublishesTwice {
                    self.node.publish(once).await;
                }
            }
            if self.fault == Fault::AnswersBackwards {
                answers.reverse();
            }
            answers
        })
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        keep: Keep,
        since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        let keep = if self.fault == Fault::KeepsTooMuch { Keep { messages: usize::MAX, ..keep } } else { keep };
        self.node.read(channel, keep, since.filter(|_| self.fault != Fault::ReadsEverything))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.node.stop()
    }
}
