//! What every [`Backplane`] must do, as checks that run against the engine itself.
//!
//! Whoever writes a backplane for another engine calls [`check`] from a test, with a running engine that may have other data
//! (each check has a [`Prefix`] of its own):
//!
//! ```
//! # // A third party's engine would stand here.
//! use nexios::backplane::Memory;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let engine = Memory::new();
//! nexios::testing::backplane::check(|prefix| engine.node().prefix(prefix)).await;
//! # }
//! ```
//!
//! The checks are about an engine that is well. What happens when it is not differs from engine to engine, and is for the
//! implementation's own tests, which [`TestNode`] is good for. They should at least
//!
//! - freeze the engine (SIGSTOP) and let it go on: calls may take long, but do not stay stuck once it goes on;
//! - kill it and start it with its data: [`Events::disconnected`], then [`Events::interrupted`] with all wanted channels, then
//!   [`Events::connected`]; positions from before are still good, or their epoch is another one;
//! - kill it and start it without its data: the same, and streams have another epoch;
//! - break the subscribers' connections, with and without a word: the same, within seconds;
//! - publish the same messages again after each of these: each has one place.

mod delivery;
mod load;
mod names;
mod node;
mod reading;
mod streams;

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

pub use self::node::{Happening, Received, TestNode};
#[cfg(doc)]
use crate::backplane::Events;
use crate::backplane::{Backplane, Channel, Keep, Prefix};

/// How long a check may take. Most take milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);

type Check = for<'a> fn(&'a Engine<'_>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! checks {
    ($($file:ident { $($name:ident)* })*) => {
        &[$($((stringify!($name), (|engine| Box::pin($file::$name(engine))) as Check)),*),*]
    };
}

const CHECKS: &[(&str, Check)] = checks! {
    delivery {
        a_message_reaches_those_who_have_subscribed_and_nobody_else
        nothing_arrives_before_subscribing_or_after_unsubscribing
        messages_of_a_node_arrive_in_the_order_of_publishing
        own_messages_arrive_at_most_once
        payloads_are_any_bytes
        each_message_of_a_batch_has_its_answer
        a_batch_may_have_a_mebibyte
        nothing_is_no_error
        nodes_have_channels_of_their_own
    }
    names {
        no_name_is_taken_for_another
        names_have_streams_of_their_own
        prefixes_never_meet
    }
    streams {
        a_kept_message_has_the_same_place_on_every_node
        places_follow_each_other_in_their_channel
        concurrent_publishers_make_one_order
        a_message_that_is_published_again_has_one_place
        a_batch_that_is_published_again_in_part_goes_on_behind_it
        numbers_count_for_each_channel_and_node
    }
    reading {
        all_that_is_kept_is_read
        what_is_behind_a_position_is_read
        an_empty_stream_has_a_position_that_stays_good
        too_many_messages_are_trimmed
        too_many_bytes_are_trimmed
        old_messages_are_trimmed
        a_stream_may_keep_one_message_or_none
        a_message_that_is_too_large_to_keep_has_a_place
        a_position_of_another_epoch_is_not_recovered
        a_position_behind_the_end_is_not_recovered
    }
    load {
        thousands_of_channels_at_once
        wanted_twice_is_wanted_once
        calls_may_come_at_the_same_time
        calls_may_be_dropped_at_any_time
        what_was_published_before_stop_arrives
    }
};

/// Runs all checks, one after another: some seconds. `connect` makes a node's value, of which the checks have up to four on
/// the same engine at the same time; they start and stop it.
///
/// What is kept by the checks stays on the engine until its [age](Keep::age), which is a minute.
///
/// # Panics
///
/// When a check fails: after all of them, with the names of those that failed and what was expected.
pub async fn check<B: Backplane>(connect: impl Fn(Prefix) -> B) {
    check_only("", connect).await;
}

/// Runs the checks whose names contain these words.
///
/// # Panics
///
/// As [`check`], and when there is no such check.
pub async fn check_only<B: Backplane>(words: &str, connect: impl Fn(Prefix) -> B) {
    let connect = |prefix| Arc::new(connect(prefix)) as Arc<dyn Backplane>;
    let wanted: Vec<_> = CHECKS.iter().filter(|(name, _)| name.contains(words)).collect();
    assert!(!wanted.is_empty(), "there is no check with {words:?} in its name");
    let mut failures = String::new();
    let mut failed = 0;
    for (name, check) in &wanted {
        if let Err(why) = run(*check, &connect).await {
            failed += 1;
            // Writing to a String cannot fail.
            let _ = write!(failures, "\n{name}: {why}");
        }
    }
    assert!(failed == 0, "{failed} of {} checks failed:{failures}", wanted.len());
}

async fn run(check: Check, connect: &dyn Fn(Prefix) -> Arc<dyn Backplane>) -> Result<(), String> {
    let engine = Engine::new(connect);
    let checked = AssertUnwindSafe(tokio::time::timeout(PATIENCE, check(&engine))).catch_unwind().await;
    let outcome = match checked {
        Ok(Ok(())) => engine.trouble().map_or(Ok(()), Err),
        Ok(Err(_)) => Err(format!("takes longer than {} s", PATIENCE.as_secs())),
        Err(panic) => Err(told(&*panic)),
    };
    let nodes = engine.nodes.take();
    let stopped = tokio::time::timeout(PATIENCE, futures_util::future::join_all(nodes.iter().map(|node| node.stop())));
    outcome.and(stopped.await.map(drop).map_err(|_| format!("stop takes longer than {} s", PATIENCE.as_secs())))
}

/// What a panic says.
fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "panics".to_owned())
}

/// The engine as a check sees it: with a prefix that nobody else has.
struct Engine<'c> {
    connect: &'c dyn Fn(Prefix) -> Arc<dyn Backplane>,
    prefix: Prefix,
    nodes: RefCell<Vec<Rc<TestNode>>>,
    may_be_interrupted: Cell<bool>,
}

impl<'c> Engine<'c> {
    fn new(connect: &'c dyn Fn(Prefix) -> Arc<dyn Backplane>) -> Self {
        let prefix = format!("check-{:016x}", rand::random::<u64>()).parse().unwrap_or_default();
        Self { connect, prefix, nodes: RefCell::default(), may_be_interrupted: Cell::new(false) }
    }

    /// One more node that is connected.
    async fn node(&self) -> Rc<TestNode> {
        self.node_with(self.prefix.clone()).await
    }

    async fn node_with(&self, prefix: Prefix) -> Rc<TestNode> {
        let node = match TestNode::start_shared((self.connect)(prefix)).await {
            Ok(node) => Rc::new(node),
            Err(error) => panic!("start: {error}"),
        };
        node.wait_until("connected", |happened| happened.iter().any(|h| matches!(h, Happening::Connected))).await;
        self.nodes.borrow_mut().push(Rc::clone(&node));
        node
    }

    async fn two(&self) -> (Rc<TestNode>, Rc<TestNode>) {
        (self.node().await, self.node().await)
    }

    /// What a node was told that should not happen while the engine is well.
    fn trouble(&self) -> Option<String> {
        let is_trouble = |h: &Happening| matches!(h, Happening::Interrupted(_) | Happening::Disconnected(_));
        let nodes = self.nodes.borrow();
        let trouble = nodes.iter().find_map(|node| node.happened().into_iter().find(is_trouble));
        trouble
            .filter(|_| !self.may_be_interrupted.get())
            .map(|trouble| format!("{trouble:?} while the engine is well"))
    }
}

/// A channel of a group, and how much is kept where the check is not about that.
fn room(name: &str) -> Channel {
    Channel::group(name)
}

const KEEP: Keep = Keep { messages: 1000, bytes: 16 * 1024 * 1024, age: Duration::from_mins(1) };

/// What may still come has come.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}
