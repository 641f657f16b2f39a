//! A backplane without an engine, for apps of one process.

mod hub;
#[cfg(all(test, nexios_model))]
mod model;
mod stream;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use self::hub::{Happening, Hub};
#[cfg(all(test, nexios_model))]
pub(crate) use self::model::{Fate, ModelNode};
use super::{Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, NodeId, Outgoing, Page, Place, Prefix};
use crate::groups::Position;

/// Joins apps of one process: for tests of what several nodes do, and to see how a [`Backplane`] is written.
///
/// Each app gets a [`node`](Self::node). A test keeps a clone of it, and cuts it off, freezes it, deafens it, or lets its
/// answers or messages be lost; what then happens to the app's groups is what happens with a real engine.
///
/// ```
/// use nexios::backplane::Memory;
///
/// let memory = Memory::new();
/// let (one, two) = (memory.node(), memory.node());
/// // App::new().backplane(one.clone()), App::new().backplane(two.clone()), and then:
/// one.cut();
/// one.heal();
/// memory.restart_empty();
/// # drop(two);
/// ```
///
/// Clones are the same engine.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Hub>>);

/// An app's end of a [`Memory`]. Clones are the same end, for one app and for the test that disturbs it.
#[derive(Clone)]
pub struct MemoryNode {
    memory: Memory,
    /// Tells it from the memory's other nodes.
    number: u64,
    prefix: Prefix,
    fault: watch::Sender<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Nothing comes or goes.
    Cut,
    /// Whatever comes or goes waits.
    Frozen,
    /// What is asked for is done, and the answer is lost.
    Mute,
    /// Calls go on, but nothing comes.
    Deaf,
    /// The same, and nobody notices.
    Numb,
}

impl Memory {
    /// An engine that nobody uses yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A [`Backplane`] for one app, with the default [`Prefix`].
    pub fn node(&self) -> MemoryNode {
        MemoryNode {
            memory: self.clone(),
            number: rand::random(),
            prefix: Prefix::default(),
            fault: watch::Sender::new(Fault::None),
        }
    }

    /// Forgets all streams, and breaks all subscriptions for a moment.
    pub fn restart_empty(&self) {
        self.hub().restart_empty();
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        // Nothing under this lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryNode {
    /// Only nodes with the same prefix meet.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Cuts it off: calls fail, and what is published elsewhere does not arrive, now or later.
    pub fn cut(&self) {
        self.set(Fault::Cut);
    }

    /// Lets calls hang, and what is published elsewhere wait, until [`heal`](Self::heal).
    pub fn freeze(&self) {
        self.set(Fault::Frozen);
    }

    /// Lets the engine do what it is asked and loses its answers: calls fail, but what was published has arrived.
    pub fn lose_answers(&self) {
        self.set(Fault::Mute);
    }

    /// Breaks its subscriptions and nothing else: it publishes and reads, and what is published elsewhere does not arrive.
    pub fn deafen(&self) {
        self.set(Fault::Deaf);
    }

    /// Drops what comes on its subscriptions, which seem to stand: a connection that died without a word.
    pub fn lose_messages(&self) {
        self.set(Fault::Numb);
    }

    /// Ends whatever goes wrong. Subscriptions that were broken are interrupted.
    pub fn heal(&self) {
        self.set(Fault::None);
    }

    fn set(&self, fault: Fault) {
        if self.fault.send_replace(fault) == Fault::Numb {
            // Now it is noticed.
            self.memory.hub().disconnect(self.number, "cut off");
        }
        match fault {
            Fault::Cut | Fault::Deaf => self.memory.hub().disconnect(self.number, "cut off"),
            Fault::None | Fault::Mute => self.memory.hub().reconnect(self.number),
            // Subscriptions are as they were.
            Fault::Frozen | Fault::Numb => {}
        }
    }

    /// Does what an engine would be asked for, unless something is wrong.
    async fn ask<T>(&self, what: impl FnOnce(&mut Hub) -> T) -> Result<T, BackplaneError> {
        let fault = self.not_frozen().await;
        if fault == Fault::Cut {
            return Err(BackplaneError::unavailable("cut off"));
        }
        let answer = what(&mut self.memory.hub());
        if fault == Fault::Mute { Err(BackplaneError::unavailable("the answer was lost")) } else { Ok(answer) }
    }

    async fn not_frozen(&self) -> Fault {
        let mut fault = self.fault.subscribe();
        // Its sender is `self`, so there always is an answer.
        fault.wait_for(|fault| *fault != Fault::Frozen).await.map_or(Fault::Cut, |fault| *fault)
    }

    /// Tells the app what happens, in a task of its own runtime, until the hub forgets this node.
    async fn report(self, events: Events, mut happenings: mpsc::UnboundedReceiver<Happening>) {
        while let Some(happening) = happenings.recv().await {
            let fault = self.not_frozen().await;
            match happening {
                Happening::Message(..) if fault == Fault::Numb => {}
                Happening::Message(channel, payload, place) => events.message(channel.as_str(), payload, place),
                Happening::Connected => events.connected(),
                Happening::Disconnected(reason) => events.disconnected(reason),
                Happening::Interrupted(channels) => events.interrupted(&channels),
            }
        }
    }
}

impl Backplane for MemoryNode {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn start(&self, _node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        Box::pin(async move {
            // Has no bound, and needs none: it is emptied by a task that waits for nothing.
            let (tell, happenings) = mpsc::unbounded_channel();
            let is_broken = matches!(*self.fault.borrow(), Fault::Cut | Fault::Deaf);
            self.memory.hub().add(self.number, self.prefix.clone(), tell, !is_broken);
            tokio::spawn(self.clone().report(events, happenings));
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        // Before anything can fail: from the call on they are wanted.
        self.memory.hub().want(self.number, channels);
        Box::pin(async move {
            let subscribed = self.ask(|hub| hub.subscribe(self.number, channels)).await?;
            subscribed.then_some(()).ok_or_else(|| BackplaneError::unavailable("subscriptions are broken"))
        })
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        self.memory.hub().unsubscribe(self.number, channels);
        Box::pin(self.ask(|_| ()))
    }

    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        Box::pin(async move {
            let all = |hub: &mut Hub| messages.iter().map(|message| hub.publish(&self.prefix, message)).collect();
            let places: Result<Vec<Option<Place>>, _> = self.ask(all).await;
            match places {
                Ok(places) => places.into_iter().map(Ok).collect(),
                Err(error) => messages.iter().map(|_| Err(BackplaneError::unavailable(error.to_string()))).collect(),
            }
        })
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        keep: Keep,
        since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        Box::pin(self.ask(move |hub| hub.read(&self.prefix, channel, keep, since)))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.memory.hub().remove(self.number) })
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl fmt::Debug for MemoryNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("MemoryNode");
        debug.field("prefix", &self.prefix).field("fault", &*self.fault.borrow()).finish_non_exhaustive()
    }
}
