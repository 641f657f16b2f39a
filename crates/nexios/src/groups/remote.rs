//! A group that has members on other nodes: what comes from there, and what the engine orders.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::GroupsInner;
use super::draft::{Draft, Source};
use super::history::{Expected, History, NotRecovered, Stream};
use super::inner::GroupInner;
use super::position::Position;

use crate::backplane::{
    BackplaneError, Channel, Entered, Keep, Loss, MessageId, Node, NodeId, Ordered, Place, Placed, Posted,
};
use crate::sync::{Mutex, MutexGuard};

/// After this time the other nodes have told who is there.
const INTRODUCTION: Duration = Duration::from_millis(500);

/// So many nodes' last messages are known, or those of the nodes that there are: each deploy brings new ones.
const HEARD: usize = 256;

/// What a group has beside its members when there is a backplane.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) channel: Channel,
    is_attaching: AtomicBool,
    /// A message is on its way that comes before one that is here.
    is_waiting: AtomicBool,
    /// When its stream is looked at next.
    looked_at: Mutex<Option<Entered>>,
    /// Since when its channel is listened to, or cannot be for now.
    attached: OnceLock<Instant>,
    ready: Notify,
    sync: Mutex<Sync>,
    /// Something has arrived since it was last looked at.
    was_active: AtomicBool,
    /// Members are to get messages up to this offset, as far as is known.
    announced: AtomicU64,
    /// The last message of each node, of those that have no place: what is published again is not delivered again.
    heard: Mutex<HashMap<NodeId, u64>>,
}

#[derive(Debug, Default)]
struct Sync {
    is_running: bool,
    again: bool,
    /// It was asked for, and what the engine has was not seen since.
    is_owed: bool,
}

/// What became of a message with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Arrival {
    /// Members have it, now or before.
    Done,
    /// Something before it is missing.
    Gap,
}

impl Arrival {
    pub(crate) fn is_gap(self) -> bool {
        self == Self::Gap
    }
}

impl Remote {
    pub(super) fn new(name: &str) -> Self {
        Self {
            channel: Channel::group(name),
            is_attaching: AtomicBool::new(false),
            is_waiting: AtomicBool::new(false),
            looked_at: Mutex::default(),
            attached: OnceLock::new(),
            ready: Notify::new(),
            sync: Mutex::default(),
            was_active: AtomicBool::new(false),
            announced: AtomicU64::new(0),
            heard: Mutex::default(),
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached.get().is_some()
    }

    /// Whether the other nodes have had the time to tell who is there.
    pub(super) fn is_introduced(&self) -> bool {
        self.attached.get().is_some_and(|at| at.elapsed() > INTRODUCTION)
    }

    /// Where it stands among those whose streams are looked at.
    pub(super) fn looked_at(&self) -> Option<Entered> {
        *lock(&self.looked_at)
    }

    /// Another stream begins: what was announced of the one before does not come.
    pub(super) fn announce_nothing(&self) {
        self.announced.store(0, Ordering::Release);
    }

    /// Waits until the channel is listened to, or cannot be for now.
    pub(super) async fn wait_attached(&self) {
        loop {
            let ready = self.ready.notified();
            if self.is_attached() {
                return;
            }
            ready.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a node asks of a group.
impl GroupInner {
    pub(crate) fn channel(&self) -> Option<&Channel> {
        self.remote.as_deref().map(|remote| &remote.channel)
    }

    pub(crate) fn has_history(&self) -> bool {
        self.config.history.is_some()
    }

    pub(crate) fn keep(&self) -> Option<Keep> {
        self.config.history.as_ref().map(History::keep)
    }

    /// What was published to it before there was a node is the engine's to keep.
    pub(super) fn hand_over(&self, node: &Node) {
        let Some(keep) = self.keep() else { return };
        let channel = Channel::group(self.name());
        let messages: Vec<_> = self.members().stream().map(|stream| stream.messages().collect()).unwrap_or_default();
        for (message, is_json) in messages {
            // Only what has no room is not taken.
            let _ = node.append(&channel, Posted { is_json, ..Posted::new(message) }, keep);
        }
    }

    /// Has the channel listened to, once.
    pub(super) fn begin_to_attach(self: &Arc<Self>, node: &Node) {
        if let Some(remote) = &self.remote
            && !remote.is_attaching.swap(true, Ordering::AcqRel)
        {
            node.attach(&remote.channel, self);
        }
    }

    /// The channel is listened to, or cannot be for now.
    pub(crate) fn attached(self: &Arc<Self>) {
        let Some(remote) = &self.remote else { return };
        if remote.attached.set(Instant::now()).is_ok() {
            self.ask_who_is_there();
            if let Some(groups) = self.groups()
                && let Some(node) = groups.node()
            {
                node.will_look_at_stream(self);
            }
        }
        remote.ready.notify_waiters();
    }

    /// Whether something has arrived since this was last asked.
    pub(crate) fn was_active(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.was_active.swap(false, Ordering::AcqRel))
    }

    /// Where the copy of the engine's stream ends, if there is one.
    pub(crate) fn known_position(&self) -> Option<Position> {
        self.members().stream().filter(|stream| stream.is_copy()).map(Stream::position)
    }

    /// True when the caller is to do it: nobody else is at it.
    pub(crate) fn begin_sync(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        let mut sync = lock(&remote.sync);
        sync.is_owed = true;
        sync.again = std::mem::replace(&mut sync.is_running, true);
        !sync.again
    }

    /// Whether what the engine has was to be seen, and was not.
    pub(crate) fn is_sync_owed(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| lock(&remote.sync).is_owed)
    }

    /// What the engine has was seen, unless somebody has asked for it since.
    pub(crate) fn has_seen_the_engine(&self) {
        if let Some(remote) = &self.remote {
            let mut sync = lock(&remote.sync);
            sync.is_owed = sync.again;
        }
    }

    /// True when the caller is to look later whether what is missing has come: nobody else does.
    pub(crate) fn begin_to_wait(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| !remote.is_waiting.swap(true, Ordering::AcqRel))
    }

    /// Whether it has not come.
    pub(crate) fn is_still_behind(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        remote.is_waiting.store(false, Ordering::Release);
        let announced = remote.announced.load(Ordering::Acquire);
        self.known_position().is_some_and(|known| known.offset() < announced)
    }

    /// Its stream is looked at there.
    pub(crate) fn looked_at_later(&self, entry: Entered) {
        if let Some(remote) = &self.remote {
            *lock(&remote.looked_at) = Some(entry);
        }
    }

    /// True when somebody asked for it meanwhile; otherwise it is over.
    pub(crate) fn sync_again(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        let mut sync = lock(&remote.sync);
        sync.is_running = std::mem::take(&mut sync.again);
        sync.is_running
    }

    /// A message that the engine has given a place.
    pub(crate) fn arrive(self: &Arc<Self>, place: Place, placed: Placed, is_own: bool) -> Arrival {
        let Some(groups) = self.groups() else { return Arrival::Done };
        let numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = self.members().stream().map(|stream| (stream.expects(place), stream.position().epoch()));
        let epoch = expected.map(|(_, epoch)| epoch);
        match expected.map(|(expected, _)| expected) {
            Some(Expected::Next) => {}
            Some(Expected::Before) | None => return Arrival::Done,
            Some(Expected::Gap) => {
                if let Some(remote) = &self.remote {
                    // Of another stream, all of it is behind.
                    let is_same = epoch == Some(place.position.epoch());
                    let offset = if is_same { place.position.offset() } else { u64::MAX };
                    remote.announced.fetch_max(offset, Ordering::AcqRel);
                }
                return Arrival::Gap;
            }
        }
        let is_told_of_loss = self.place(place.position, placed, is_own, &groups);
        drop(numbering);
        if is_told_of_loss {
            groups.gap(self, Some(place.position), Some(NotRecovered::Trimmed));
        }
        if let Some(remote) = &self.remote {
            remote.was_active.store(true, Ordering::Release);
        }
        Arrival::Done
    }

    /// The next message of the stream; whoever calls this holds `numbering`. True when members were told of a gap.
    pub(super) fn place(
        self: &Arc<Self>,
        position: Position,
        placed: Placed,
        is_own: bool,
        groups: &Arc<GroupsInner>,
    ) -> bool {
        let Placed::Message(posted) = placed else { return self.break_at(position, groups) };
        let draft = Draft::of_other(posted, is_own);
        if self.publish_numbered(&draft, groups, Source::Engine(position)).is_err() {
            // A group of other settings on another node: nothing that could be shown here.
            if let Some(stream) = self.members().stream_mut() {
                stream.skip_to(position.offset());
            }
        }
        false
    }

    /// A message that has no place, from another node.
    pub(crate) fn receive(self: &Arc<Self>, id: MessageId, posted: Posted) {
        let Some(groups) = self.groups() else { return };
        if self.is_double(id) {
            return;
        }
        // It cannot fail: a group without a history has no positions to tell.
        let _ = self.publish(&Draft::of_other(posted, false), &groups, Source::Node);
    }

    /// Whether a message without a place was heard before.
    pub(super) fn is_double(&self, id: MessageId) -> bool {
        let Some(remote) = &self.remote else { return true };
        let mut heard = lock(&remote.heard);
        let last = heard.entry(id.node).or_default();
        let is_double = id.number <= std::mem::replace(last, id.number.max(*last));
        if heard.len() > HEARD
            && let Some(groups) = self.groups()
            && let Some(node) = groups.node()
        {
            heard.retain(|other, _| *other == id.node || node.knows(*other));
        }
        is_double
    }

    /// Appends a message to the group's stream, or delivers it here while the engine is away. Meanwhile it cannot arrive from
    /// the engine.
    pub(super) fn append(
        self: &Arc<Self>,
        append: impl FnOnce() -> Result<Ordered, BackplaneError>,
        draft: &Draft,
    ) -> Result<Ordered, BackplaneError> {
        let numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        let ordered = append()?;
        if matches!(ordered, Ordered::Here) {
            self.go_on_alone_numbered(numbering, draft.posted());
        }
        Ok(ordered)
    }

    /// The engine is away: this node orders the group's messages itself, as another stream.
    pub(crate) fn go_on_alone(self: &Arc<Self>, posted: Posted) {
        self.go_on_alone_numbered(self.numbering.lock().unwrap_or_else(PoisonError::into_inner), posted);
    }

    fn go_on_alone_numbered(self: &Arc<Self>, numbering: MutexGuard<'_, ()>, posted: Posted) {
        let Some(groups) = self.groups() else { return };
        if !groups.node().is_some_and(|node| node.is_apart()) {
            // The engine is back and has ordered the message meanwhile: members get it from there.
            return;
        }
        let is_behind = self.leave_engines_stream(&groups);
        let _ = self.publish_numbered(&Draft::of_other(posted, true), &groups, Source::Alone);
        drop(numbering);
        if is_behind {
            groups.gap(self, None, None);
        }
    }

    /// True when members had to be told of a gap. Whoever calls this holds `numbering`.
    fn leave_engines_stream(self: &Arc<Self>, groups: &Arc<GroupsInner>) -> bool {
        let mut members = self.members();
        let Some(stream) = members.stream().filter(|stream| stream.is_copy()) else { return false };
        let announced = self.remote.as_ref().map_or(0, |remote| remote.announced.swap(0, Ordering::AcqRel));
        let is_owed = self.remote.as_ref().is_some_and(|remote| lock(&remote.sync).is_owed);
        let is_behind = is_owed || announced > stream.position().offset();
        let mut after = self.distribute(&mut members);
        let grown = members.set_stream(Stream::new());
        if is_behind {
            // What was to come before does not come any more.
            after.append(self.tell_gap(&mut members));
        }
        drop(members);
        groups.count_history(grown);
        after.finish();
        is_behind
    }

    /// Messages of other nodes to this group are lost, and cannot be had any more.
    pub(crate) fn lost(self: &Arc<Self>, loss: Loss) {
        // What the engine has kept is read.
        let least = if self.has_history() { Loss::Kept } else { Loss::Placeless };
        if loss < least {
            return;
        }
        let Some(groups) = self.groups() else { return };
        let mut members = self.members();
        if members.len() == 0 {
            return;
        }
        let mut after = self.distribute(&mut members);
        after.append(self.tell_gap(&mut members));
        drop(members);
        after.finish();
        groups.gap(self, None, None);
    }

    pub(super) fn groups(&self) -> Option<Arc<GroupsInner>> {
        self.groups.upgrade()
    }
}
