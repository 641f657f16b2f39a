//! Who is in a group, and what the group holds.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::batch::Batch;
use super::config::GroupConfig;
use super::elsewhere::{Elsewhere, Key, Untold};
use super::history::{Data, Stream};
use super::inner::{GroupInner, Leaving};
use super::position::Position;
use super::presence::{self, Change, Info, Present, Roster};
use super::stats::Counts;
use crate::backplane::Entry;
use crate::connection::{Coding, Effects, Enqueued, Link, Publication, Terms};
use crate::sender::ConnectionId;

/// Beyond so many members, there is an index.
const FEW: usize = 16;

/// Everything of a group that changes, under one lock: so all of it has one order.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// For sending in one sweep.
    list: Vec<Arc<Link>>,
    /// Where in the list, for leaving in constant time. Empty while there are few.
    #[expect(clippy::box_collection, reason = "most groups are small: 8 bytes instead of 48")]
    index: Option<Box<HashMap<ConnectionId, usize>>>,
    /// How members compress, and how many do so.
    codings: Vec<(Coding, usize)>,
    batch: Batch,
    stream: Option<Box<Stream>>,
    roster: Option<Box<Roster>>,
    /// Who is on other nodes.
    pub(super) elsewhere: Option<Box<Elsewhere>>,
    /// What those do not know yet; nothing without a backplane.
    pub(super) untold: Option<Box<Untold>>,
    counts: Counts,
    /// When the group is looked after next.
    pub(super) deadline: Option<Instant>,
    /// The group's name keeps it, with members or without.
    pub(super) is_kept: bool,
    /// Nothing of the history is of use any more.
    is_expired: bool,
}

/// A connection's place in one group. It keeps the group alive.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(super) group: Arc<GroupInner>,
}

impl Membership {
    /// The connection is closing.
    pub(crate) fn end(&self, id: ConnectionId) {
        self.group.remove(id, Leaving::Ended);
    }
}

impl Members {
    pub(super) fn new(config: &GroupConfig, has_others: bool) -> Self {
        let stream = config.history.is_some().then(|| Box::new(Stream::new()));
        let untold = has_others.then(Box::default);
        Self { stream, untold, ..Self::default() }
    }

    // ---- who

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    fn place(&self, id: ConnectionId) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&id).copied(),
            None => self.list.iter().position(|link| link.id() == id),
        }
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.place(id).is_some()
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Link>> {
        self.list.get(self.place(id)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.list.iter()
    }

    pub(super) fn insert(&mut self, link: Arc<Link>) {
        if let Some(coding) = link.any_coding() {
            match self.codings.iter_mut().find(|(of, _)| *of == coding) {
                Some((_, count)) => *count += 1,
                None => self.codings.push((coding, 1)),
            }
        }
        let id = link.id();
        self.list.push(link);
        if let Some(index) = &mut self.index {
            index.insert(id, self.list.len() - 1);
        } else if self.list.len() > FEW {
            self.index = Some(Box::new(self.list.iter().map(|link| link.id()).zip(0..).collect()));
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Arc<Link>> {
        let at = self.place(id)?;
        let link = self.list.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(&id);
            if let Some(moved) = self.list.get(at) {
                index.insert(moved.id(), at);
            }
            if self.list.len() < FEW / 2 {
                self.index = None;
                self.list.shrink_to_fit();
            }
        }
        if let Some(coding) = link.any_coding()
            && let Some(at) = self.codings.iter().position(|(of, _)| *of == coding)
        {
            self.codings[at].1 -= 1;
            if self.codings[at].1 == 0 {
                self.codings.swap_remove(at);
            }
        }
        Some(link)
    }

    /// How the members compress; few groups have more than one way.
    pub(super) fn codings(&self) -> Vec<Coding> {
        self.codings.iter().map(|(coding, _)| *coding).collect()
    }

    // ---- what is published

    /// Takes a message for every member but one. What is left to do is the caller's, after its lock.
    pub(super) fn publish(
        &mut self,
        publication: Publication,
        except: Option<ConnectionId>,
        terms: Terms,
    ) -> Publishing {
        self.counts.publications += 1;
        let is_first = self.batch.is_empty();
        self.batch.push(publication, except);
        if self.batch.is_full() || !Batch::is_worth(self.list.len()) {
            return Publishing::Distributed(self.distribute(terms));
        }
        if is_first { Publishing::PutOff } else { Publishing::Joined }
    }

    /// Queues what was put off for every member.
    pub(super) fn distribute(&mut self, terms: Terms) -> Distributed {
        let mut after = Distributed::default();
        if self.batch.is_empty() {
            return after;
        }
        let parts = std::mem::take(&mut self.batch).into_parts();
        after.effects.wakers.reserve(self.list.len());
        for link in &self.list {
            let id = link.id();
            let whole = parts.whole_for(id);
            if whole.is_none_or(|whole| after.enqueue(link, whole, terms) == Enqueued::Piecewise) {
                after.enqueue_all(link, parts.each(id), terms);
            }
        }
        self.count(&mut after);
        after
    }

    /// Queues one message for every member that `is_for` says.
    pub(super) fn send_now(
        &mut self,
        publication: &Publication,
        terms: Terms,
        mut is_for: impl FnMut(ConnectionId) -> bool,
    ) -> Distributed {
        let mut after = Distributed::default();
        self.counts.publications += 1;
        for link in self.list.iter().filter(|link| is_for(link.id())) {
            after.enqueue(link, publication, terms);
        }
        self.count(&mut after);
        after
    }

    /// Counts what a sweep came to.
    pub(super) fn count(&mut self, after: &mut Distributed) {
        self.counts.dropped += std::mem::take(&mut after.effects.dropped);
        self.counts.slow += std::mem::take(&mut after.effects.closed);
    }

    // ---- history

    pub(super) fn stream(&self) -> Option<&Stream> {
        self.stream.as_deref()
    }

    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.stream.as_deref_mut()
    }

    /// Puts another stream in the place of what was kept; returns by how many bytes that has grown.
    pub(super) fn set_stream(&mut self, stream: Stream) -> isize {
        let before = self.history_size();
        self.stream = Some(Box::new(stream));
        self.is_expired = false;
        self.history_size().cast_signed() - before.cast_signed()
    }

    pub(super) fn history_size(&self) -> usize {
        self.stream.as_ref().map_or(0, |stream| stream.size())
    }

    /// Keeps a message, if the group has a history, in the next place or in the one that it was given; returns by how many bytes that has grown.
    pub(super) fn record(
        &mut self,
        at: Option<Position>,
        publication: &Publication,
        data: Data,
        config: &GroupConfig,
    ) -> isize {
        let (Some(stream), Some(bounds)) = (&mut self.stream, &config.history) else { return 0 };
        let before = stream.size();
        let now = Instant::now();
        let position = at.unwrap_or_else(|| stream.next_position());
        stream.push(position.offset(), publication.clone(), data, now);
        self.is_expired = false;
        stream.trim(bounds, now);
        isize::try_from(stream.size()).unwrap_or(isize::MAX) - isize::try_from(before).unwrap_or(isize::MAX)
    }

    /// Lets go of what is too old; returns how many bytes that were.
    pub(super) fn trim(&mut self, config: &GroupConfig, now: Instant) -> usize {
        let before = self.history_size();
        if let (Some(stream), Some(bounds)) = (&mut self.stream, &config.history) {
            stream.trim(bounds, now);
            self.is_expired = self.list.is_empty() && now.saturating_duration_since(stream.oldest()) >= bounds.age;
        }
        before - self.history_size()
    }

    /// Since when the oldest of the history is kept, if it could go.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let stream = self.stream.as_ref()?;
        (stream.len() > 0 || self.list.is_empty()).then(|| stream.oldest())
    }

    /// Somebody has learned a position, and may come back with it.
    pub(super) fn keep_position(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.keep_position(Instant::now());
            self.is_expired = false;
        }
    }

    /// Keeps neither messages nor the position any longer.
    pub(super) fn expire(&mut self) {
        self.is_expired = true;
    }

    /// Lets go of the oldest message; returns how many bytes that were.
    pub(super) fn drop_oldest(&mut self) -> usize {
        self.stream.as_mut().map_or(0, |stream| stream.drop_oldest())
    }

    // ---- presence

    /// A new member tells of itself, or wants to be told of others.
    pub(super) fn introduce(
        &mut self,
        link: &Arc<Link>,
        user: Option<Arc<str>>,
        info: Option<Info>,
        wants_notices: bool,
    ) -> Option<Change> {
        if self.roster.is_none() && user.is_none() && info.is_none() && !wants_notices {
            return None;
        }
        let roster = self.roster.get_or_insert_default();
        if wants_notices {
            roster.watch(link);
        }
        roster.join(link.id(), user, info)
    }

    /// A member tells something new of itself.
    pub(super) fn update(&mut self, id: ConnectionId, info: Info) -> Option<Change> {
        self.roster.get_or_insert_default().update(id, info)
    }

    pub(super) fn user_of(&self, id: ConnectionId) -> Option<Arc<str>> {
        self.roster.as_ref()?.user_of(id).cloned()
    }

    /// What is told of a user, as JSON or empty, if there is such a one on this node.
    pub(super) fn user(&self, user: &str) -> Option<&str> {
        self.roster.as_ref()?.user(user)
    }

    pub(super) fn has_info(&self, id: ConnectionId) -> bool {
        self.roster.as_ref().is_some_and(|roster| roster.has_info(id))
    }

    /// For other nodes: everybody who tells something.
    pub(super) fn all_entries(&self) -> Vec<Entry> {
        self.entries(self.roster.iter().flat_map(|roster| roster.keys()))
    }

    /// These, as they are now.
    pub(super) fn entries(&self, keys: impl IntoIterator<Item = Key>) -> Vec<Entry> {
        let nobody = Roster::default();
        let roster = self.roster.as_deref().unwrap_or(&nobody);
        keys.into_iter().map(|key| roster.entry(key)).collect()
    }

    /// On this node and on others.
    pub(super) fn everywhere(&self) -> usize {
        self.list.len().saturating_add(self.elsewhere.as_ref().map_or(0, |elsewhere| elsewhere.len()))
    }

    pub(super) fn present_here(&self) -> Vec<Present> {
        let connections = self.list.iter().map(|link| link.id());
        match &self.roster {
            Some(roster) => roster.list(connections),
            None => Roster::default().list(connections),
        }
    }

    pub(super) fn present(&self) -> Vec<Present> {
        let mut present = self.present_here();
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.add_to(&mut present);
        }
        present
    }

    /// A connection is no longer here.
    pub(super) fn forget(&mut self, id: ConnectionId, gone_at: Option<Instant>) -> Option<Change> {
        self.roster.as_mut()?.leave(id, gone_at)
    }

    pub(super) fn give_up(&mut self, now: Instant) -> Vec<Change> {
        self.roster.as_mut().map(|roster| roster.give_up(now)).unwrap_or_default()
    }

    /// What is to be told of a change on this node: a user who is on others as well has neither come nor gone.
    pub(super) fn beside_others(&self, change: Option<Change>) -> Option<Change> {
        change.and_then(|change| change.beside(|user| self.elsewhere.as_ref()?.user(user)))
    }

    /// Tells those who watch, but not the one whom it is about.
    pub(super) fn notify(
        &mut self,
        change: Option<Change>,
        group: &str,
        about: impl Into<Option<ConnectionId>>,
    ) -> Distributed {
        let mut after = Distributed::default();
        let about = about.into();
        let Some(roster) = &self.roster else { return after };
        let watchers = || roster.watchers().filter(|link| Some(link.id()) != about);
        let change = change.filter(|_| watchers().next().is_some());
        if let Some(publication) = change.and_then(|change| change.publication(group)) {
            for link in watchers() {
                after.enqueue(link, &publication, Terms::OF_CONNECTION);
            }
        }
        self.count(&mut after);
        after
    }

    /// Sends a notice to all members, or to those who watch.
    pub(super) fn tell(&mut self, publication: &Publication, everybody: bool) -> Distributed {
        let mut after = Distributed::default();
        let watchers = self.roster.iter().flat_map(|roster| roster.watchers()).filter(|_| !everybody);
        for link in self.list.iter().filter(|_| everybody).chain(watchers) {
            after.enqueue(link, publication, Terms::OF_CONNECTION);
        }
        self.count(&mut after);
        after
    }

    /// Tells a newcomer who is there; what changes from here on, it is told as well.
    pub(super) fn tell_who_is_there(&self, after: &mut Distributed, group: &str, link: &Arc<Link>) {
        if let Some(publication) = presence::who_is_there(group, &self.present(), link.room().0 / 2) {
            after.enqueue(link, &publication, Terms::OF_CONNECTION);
        }
    }

    // ---- upkeep

    pub(super) fn is_worth_keeping(&mut self) -> bool {
        if self.roster.as_ref().is_some_and(|roster| roster.is_empty()) {
            self.roster = None;
        }
        let is_waiting = self.roster.as_ref().is_some_and(|roster| roster.next_gone().is_some());
        // What the engine keeps need not be kept here.
        let is_engines = self.untold.is_some();
        is_waiting || (self.stream.is_some() && !self.is_expired && !is_engines)
    }

    /// When the group has to be looked after, if that is sooner than was known.
    pub(super) fn new_deadline(&mut self, config: &GroupConfig) -> Option<Instant> {
        let too_old = self.oldest().zip(config.history.as_ref()).and_then(|(at, bounds)| at.checked_add(bounds.age));
        let gone = self.roster.as_ref().and_then(|roster| roster.next_gone());
        let next = too_old.into_iter().chain(gone).min()?;
        if self.deadline.is_some_and(|known| known <= next) {
            return None;
        }
        self.deadline = Some(next);
        Some(next)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

/// What became of a message to a group.
#[derive(Debug)]
pub(super) enum Publishing {
    /// It is the first that waits for the end of the tick.
    PutOff,
    /// It waits with others.
    Joined,
    Distributed(Distributed),
}

/// What a sweep over the members leaves to do, under no lock.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Distributed {
    effects: Effects,
}

impl Distributed {
    /// Queues a message for a member.
    #[inline]
    pub(super) fn enqueue(&mut self, link: &Arc<Link>, publication: &Publication, terms: Terms) -> Enqueued {
        link.enqueue_shared(publication, terms, &mut self.effects)
    }

    /// Queues messages for a member, as long as it takes them.
    fn enqueue_all<'a>(&mut self, link: &Arc<Link>, publications: impl Iterator<Item = &'a Publication>, terms: Terms) {
        for publication in publications {
            // One that has no room is closed, and needs no more of them.
            if !matches!(self.enqueue(link, publication, terms), Enqueued::Queued | Enqueued::Dropped) {
                return;
            }
        }
    }

    /// What it came to, where no group counts it.
    pub(super) fn counts(&self) -> Counts {
        Counts { publications: 1, dropped: self.effects.dropped, slow: self.effects.closed }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.effects.wakers.extend(other.effects.wakers);
    }

    /// Wakes the tasks that have something to write.
    pub(super) fn finish(self) {
        self.effects.wake();
    }
}
