//! Who is in a group, and what the group holds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::batch::{Batch, Parts, Share};
use super::config::GroupConfig;
use super::crowd::Crowd;
use super::elsewhere::{Elsewhere, Key, Untold};
use super::envelope::enveloped;
use super::history::{Data, Stream};
use super::inner::{Flush, GroupInner, Leaving};
use super::position::Position;
use super::presence::{Change, Info, Present, Roster};
use super::stats::Counts;
use crate::backplane::Entry;
use crate::connection::{Coding, Effects, Enqueued, Link, Publication, Terms};
use crate::sender::ConnectionId;

/// Beyond so many members, there is an index.
const FEW: usize = 16;

/// Memory of a membership, in the group's list and index and in the connection's list: measured, as they grow.
pub(super) const MEMBER: usize = 96;

/// Everything of a group that changes, under one lock: so all of it has one order.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct Members {
    /// For sending in one sweep.
    list: Vec<Arc<Link>>,
    /// Where in the list, for leaving in constant time. Empty while there are few.
    #[expect(clippy::box_collection, reason = "most groups are small: 8 bytes instead of 48")]
    index: Option<Box<HashMap<ConnectionId, usize>>>,
    /// How members compress, and how many do so.
    codings: Vec<(Coding, usize)>,
    pub(super) batch: Batch,
    /// Notices wait in the batch, and somebody distributes it at the end of a turn.
    pub(super) is_flushed_soon: bool,
    /// Somebody got texts in envelopes only.
    has_enveloped: bool,
    stream: Option<Box<Stream>>,
    roster: Option<Box<Roster>>,
    /// There are too many to be told of one by one.
    pub(super) crowd: Option<Box<Crowd>>,
    /// What is counted for it in the memory budget, in bytes.
    pub(super) counted: usize,
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
        self.batch.has_joined(id);
        self.list.push(link);
        if let Some(index) = &mut self.index {
            index.insert(id, self.list.len() - 1);
        } else if self.list.len() > FEW {
            self.index = Some(Box::new(self.list.iter().map(|link| link.id()).zip(0..).collect()));
        }
    }

    /// Removes a member; what was published before is for it, too.
    pub(super) fn remove(&mut self, id: ConnectionId, terms: Terms, group: &str) -> Option<(Arc<Link>, Distributed)> {
        let at = self.place(id)?;
        let link = Arc::clone(&self.list[at]);
        let before = self.distribute_to(&link, terms, group);
        self.take_out(at);
        Some((link, before))
    }

    fn take_out(&mut self, at: usize) {
        let link = self.list.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(&link.id());
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
    }

    /// In which forms a message is sent: how the members compress, and whether some get texts in envelopes.
    pub(super) fn forms(&self) -> (Vec<Coding>, bool) {
        (self.codings(), self.wants_envelopes())
    }

    /// How the members compress; few groups have more than one way.
    pub(super) fn codings(&self) -> Vec<Coding> {
        self.codings.iter().map(|(coding, _)| *coding).collect()
    }

    // ---- what is published

    /// Whether texts are worth being put into envelopes before they are published.
    fn wants_envelopes(&self) -> bool {
        self.has_enveloped || self.roster.as_ref().is_some_and(|roster| roster.is_watched())
    }

    /// Takes a message for every member but one. What is left to do is the caller's, after its lock.
    pub(super) fn publish(
        &mut self,
        publication: Publication,
        except: Option<ConnectionId>,
        terms: Terms,
        group: &str,
    ) -> Publishing {
        self.counts.publications += 1;
        let is_first = self.batch.is_empty();
        self.batch.push(publication, except);
        if self.batch.is_full() || !Batch::is_worth(self.list.len()) {
            return Publishing::Distributed(self.distribute(terms, group));
        }
        if is_first { Publishing::PutOff } else { Publishing::Joined }
    }

    /// Queues what was put off for every member.
    pub(super) fn distribute(&mut self, terms: Terms, group: &str) -> Distributed {
        let mut after = Distributed::default();
        if self.batch.is_empty() {
            return after;
        }
        self.is_flushed_soon = false;
        let mut parts = std::mem::take(&mut self.batch).into_parts();
        let roster = self.roster.as_deref();
        let watches = |link: &Arc<Link>| roster.is_some_and(|roster| roster.watches(link.id()));
        if parts.are_notices() {
            for link in roster.into_iter().flat_map(Roster::watchers) {
                after.share_out(link, &mut parts, true, terms, group);
            }
        } else {
            after.effects.due.reserve(self.list.len());
            let has_notices = parts.has_notices();
            for link in &self.list {
                let watches = has_notices && watches(link);
                after.share_out(link, &mut parts, watches, terms, group);
            }
        }
        self.has_enveloped |= after.has_enveloped;
        self.count(&mut after);
        after
    }

    /// Queues what was put off for a member that is about to leave.
    fn distribute_to(&mut self, link: &Arc<Link>, terms: Terms, group: &str) -> Distributed {
        let mut after = Distributed::default();
        if self.batch.is_empty() {
            return after;
        }
        if self.batch.len() >= self.list.len() {
            return self.distribute(terms, group);
        }
        // What was noticed is of no use to it any more.
        for publication in self.batch.messages_for(link.id()) {
            let mut publication = Cow::Borrowed(publication);
            if !matches!(
                after.enqueue_in_form(link, &mut publication, terms, group),
                Enqueued::Queued | Enqueued::Dropped
            ) {
                break;
            }
        }
        self.has_enveloped |= after.has_enveloped;
        self.count(&mut after);
        after
    }

    /// Queues one message for every member that `is_for` says.
    pub(super) fn send_now(
        &mut self,
        publication: &Publication,
        terms: Terms,
        group: &str,
        mut is_for: impl FnMut(ConnectionId) -> bool,
    ) -> Distributed {
        let mut after = Distributed::default();
        self.counts.publications += 1;
        let mut publication = Cow::Borrowed(publication);
        for link in self.list.iter().filter(|link| is_for(link.id())) {
            after.enqueue_in_form(link, &mut publication, terms, group);
        }
        self.has_enveloped |= after.has_enveloped;
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
        quota: usize,
    ) -> isize {
        let (Some(stream), Some(bounds)) = (&mut self.stream, &config.history) else { return 0 };
        let before = stream.size();
        let now = Instant::now();
        let position = at.unwrap_or_else(|| stream.next_position());
        stream.push(position.offset(), publication.clone(), data, now);
        self.is_expired = false;
        stream.trim(bounds, now);
        while stream.size() > quota && stream.drop_oldest() > 0 {}
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

    pub(super) fn roster(&self) -> Option<&Roster> {
        self.roster.as_deref()
    }

    /// A connection that is about to be a member tells of itself, or wants to be told of others.
    pub(super) fn introduce(
        &mut self,
        id: ConnectionId,
        user: Option<Arc<str>>,
        info: Option<Info>,
        wants_notices: bool,
    ) -> Option<Change> {
        if self.roster.is_none() && user.is_none() && info.is_none() && !wants_notices {
            return None;
        }
        self.roster.get_or_insert_default().join(id, user, info)
    }

    /// From now on it is told of others.
    pub(super) fn watch(&mut self, link: &Arc<Link>) {
        self.roster.get_or_insert_default().watch(link);
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

    /// For other nodes: some of those who tell something, behind this one.
    pub(super) fn keys_behind(&self, last: Option<&Key>, most: usize) -> Vec<Key> {
        self.roster.iter().flat_map(|roster| roster.keys_behind(last)).take(most).collect()
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

    pub(super) fn present_here(&self) -> impl Iterator<Item = Present> {
        let connections = || self.list.iter().map(|link| link.id());
        let known = self.roster.iter().flat_map(move |roster| roster.list(connections()));
        let unknown = self.list.iter().filter(|_| self.roster.is_none()).map(|link| Present::of_connection(link.id()));
        known.chain(unknown)
    }

    pub(super) fn present(&self) -> Vec<Present> {
        let mut present: Vec<_> = self.present_here().collect();
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
        let told = self.crowd.as_ref().and_then(|crowd| crowd.next());
        let next = too_old.into_iter().chain(gone).chain(told).min()?;
        if self.deadline.is_some_and(|known| known <= next) {
            return None;
        }
        self.deadline = Some(next);
        Some(next)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// What members, and what they and other nodes tell, take in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let told = self.roster.as_ref().map_or(0, |roster| roster.size());
        let elsewhere = self.elsewhere.as_ref().map_or(0, |elsewhere| elsewhere.size());
        self.list.len() * MEMBER + told + elsewhere
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
    /// Notices wait for the end of this turn.
    pub(super) flush: Option<Flush>,
    /// Somebody got a text in an envelope that was not made before.
    has_enveloped: bool,
}

impl Distributed {
    /// Queues a message for a member.
    #[inline]
    pub(super) fn enqueue(&mut self, link: &Arc<Link>, publication: &Publication, terms: Terms) -> Enqueued {
        link.enqueue_shared(publication, terms, &mut self.effects)
    }

    /// Queues a message, which gets its envelope when the first member asks for one.
    #[inline]
    pub(super) fn enqueue_in_form(
        &mut self,
        link: &Arc<Link>,
        publication: &mut Cow<'_, Publication>,
        terms: Terms,
        group: &str,
    ) -> Enqueued {
        let enqueued = self.enqueue(link, publication, terms);
        if enqueued != Enqueued::Unenveloped {
            return enqueued;
        }
        self.has_enveloped = true;
        let group = Some(group).filter(|group| !group.is_empty());
        *publication = Cow::Owned(enveloped(publication.as_ref().clone(), group, &[]));
        self.enqueue(link, publication, terms)
    }

    /// Queues a member's share of a batch.
    #[inline]
    fn share_out(&mut self, link: &Arc<Link>, parts: &mut Parts, watches: bool, terms: Terms, group: &str) {
        let of_all = if parts.are_notices() { Terms::OF_CONNECTION } else { terms };
        let enqueued = match parts.share_of(link.id(), watches) {
            Share::Nothing => return,
            Share::Whole(whole) => self.enqueue(link, whole, of_all),
            Share::Parts => Enqueued::Piecewise,
        };
        match enqueued {
            Enqueued::Piecewise => self.enqueue_all(link, parts.each(link.id(), watches, terms), group),
            Enqueued::Unenveloped if parts.envelop(group) => {
                self.has_enveloped = true;
                self.share_out(link, parts, watches, terms, group);
            }
            _ => {}
        }
    }

    /// Queues messages for a member, as long as it takes them.
    fn enqueue_all<'a>(
        &mut self,
        link: &Arc<Link>,
        publications: impl Iterator<Item = (&'a Publication, Terms)>,
        group: &str,
    ) {
        for (publication, terms) in publications {
            let mut publication = Cow::Borrowed(publication);
            // One that has no room is closed, and needs no more of them.
            if !matches!(
                self.enqueue_in_form(link, &mut publication, terms, group),
                Enqueued::Queued | Enqueued::Dropped
            ) {
                return;
            }
        }
    }

    /// What it came to, where no group counts it.
    pub(super) fn counts(&self) -> Counts {
        Counts { publications: 1, dropped: self.effects.dropped, slow: self.effects.closed }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.effects.due.extend(other.effects.due);
        self.flush = self.flush.take().or(other.flush);
    }

    /// Wakes the tasks that have something to write.
    pub(super) fn finish(self) {
        self.finish_by(Effects::wake);
    }

    /// The same at the end of a tick: what is there is written.
    pub(super) fn finish_tick(self) {
        self.finish_by(Effects::write);
    }

    fn finish_by(self, how: fn(Effects)) {
        how(self.effects);
        if let Some(flush) = self.flush {
            flush.soon();
        }
    }
}
