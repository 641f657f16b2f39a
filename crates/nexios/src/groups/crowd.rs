//! Who is told of whom: in a group whose members fit into a list of every change, in a crowd how many there are.
//!
//! A watcher is sent `present` first. One without `more` is complete, and every later change follows once, until the next
//! `present`; one with `more` is a number and perhaps a first page, and what follows it is another `present`. So nothing that a
//! join does costs more in a crowd than among few, and what a crowd is told grows with its watchers only.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::inner::{Flush, GroupInner, can_wait};
use super::members::{Distributed, Members};
use super::presence::{self, Change, Event, Present};
use crate::connection::{Link, Publication, Terms};
use crate::sender::ConnectionId;
use std::sync::Arc;

/// Keys and infos of a list take at most this many bytes: half of a connection's default queue.
const LIST: usize = 512 * 1024;

/// A first page names at most so many, in about so many bytes.
const PAGE: (usize, usize) = (100, 16 * 1024);

/// A crowd is told how many it is in rounds of at least this time.
const ROUND: Duration = Duration::from_secs(1);

/// Of a crowd, so many are told at a time, and the next after this pause: others have their turn meanwhile.
const SLICE: usize = 256;
const PAUSE: Duration = Duration::from_millis(5);

/// A group that is told only how many it is.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// What newcomers are sent, and since when: it is made anew once in a round.
    page: Option<(Instant, Publication)>,
    /// The round of telling: since when, how many it tells, and who was told last.
    round: Option<Instant>,
    count: usize,
    last: Option<ConnectionId>,
    /// When the next are told, if there is anything to tell.
    next: Option<Instant>,
}

impl Crowd {
    /// When the next are told.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Somebody has come or gone.
    fn changed(&mut self) {
        if self.next.is_none() {
            let now = Instant::now();
            self.next = Some(self.round.map_or(now, |began| (began + ROUND).max(now)));
        }
    }
}

impl Members {
    /// Users, and connections that joined without a user's key, on all nodes: as a list would have them.
    pub(super) fn count_present(&self) -> usize {
        let here = self.roster().map_or(self.len(), |roster| roster.count(self.len()));
        here.saturating_add(self.elsewhere.as_ref().map_or(0, |elsewhere| elsewhere.others()))
    }

    /// How long a list would be: entries or connections, and bytes of keys and infos.
    fn list_size(&self) -> (usize, usize) {
        let (waiting, told) = self.roster().map_or((0, 0), |roster| (roster.waiting(), roster.told()));
        let (others, told_by_others) =
            self.elsewhere.as_ref().map_or((0, 0), |elsewhere| (elsewhere.entries(), elsewhere.told()));
        (self.len().saturating_add(waiting).saturating_add(others), told.saturating_add(told_by_others))
    }

    fn is_watched(&self) -> bool {
        self.roster().is_some_and(presence::Roster::is_watched)
    }

    /// A few of those who are there.
    fn page(&self) -> Vec<Present> {
        let mut size = 0;
        let page = self.present_here().take(PAGE.0).take_while(|present| {
            size += present.size();
            size <= PAGE.1
        });
        page.collect()
    }
}

impl GroupInner {
    /// Notes a change for all but one of those who asked for notices.
    pub(super) fn notify(
        self: &Arc<Self>,
        members: &mut Members,
        change: Option<Change>,
        except: Option<ConnectionId>,
    ) -> Distributed {
        let Some(change) = change.filter(|_| members.is_watched()) else { return Distributed::default() };
        if let Some(crowd) = members.crowd.as_deref_mut() {
            if !change.is(Event::Update) {
                crowd.changed();
            }
            return Distributed::default();
        }
        let Some(publication) = change.publication(self.name()) else { return Distributed::default() };
        members.batch.push_notice(publication, except);
        if members.batch.is_full() || !Batch::is_worth(members.len()) || !can_wait() {
            return self.distribute(members);
        }
        // With all that changes in this turn, unless something is published before.
        let is_first = !std::mem::replace(&mut members.is_flushed_soon, true);
        let mut after = Distributed::default();
        after.flush = is_first.then(|| Flush::new(self));
        after
    }

    /// Looks whether the group has become a crowd, or is none any more.
    pub(super) fn size_up(&self, members: &mut Members) -> Distributed {
        let (entries, bytes) = members.list_size();
        let listed = self.config.listed;
        if members.crowd.is_none() {
            if members.is_watched() && (entries > listed || bytes > LIST) {
                let mut crowd = Crowd::default();
                crowd.changed();
                members.crowd = Some(Box::new(crowd));
                // What was noticed before is told before.
                return self.distribute(members);
            }
            return Distributed::default();
        }
        if !members.is_watched() {
            members.crowd = None;
        } else if entries <= listed / 2 && bytes <= LIST / 2 {
            members.crowd = None;
            return self.tell_all_who_is_there(members);
        }
        Distributed::default()
    }

    /// Tells a newcomer who is there; what changes from here on, it is told as well.
    pub(super) fn tell_who_is_there(&self, members: &mut Members, after: &mut Distributed, link: &Arc<Link>) {
        let (list, count) = if members.crowd.is_some() {
            (self.first_page(members), members.count_present())
        } else {
            let present = members.present();
            (presence::everybody(self.name(), &present), present.len())
        };
        self.tell_list(after, link, list.as_ref(), count, members.crowd.is_some());
    }

    /// The list, or only their number if it takes more than half of the room in the queue.
    fn tell_list(
        &self,
        after: &mut Distributed,
        link: &Arc<Link>,
        list: Option<&Publication>,
        count: usize,
        more: bool,
    ) {
        let room = link.room().0 / 2;
        if let Some(list) = list.filter(|list| list.len() <= room) {
            after.enqueue(link, list, Terms::OF_CONNECTION);
        } else if let Some(number) = presence::only_count(self.name(), count, more) {
            after.enqueue(link, &number, Terms::OF_CONNECTION);
        }
    }

    /// A crowd has become small enough to be listed.
    fn tell_all_who_is_there(&self, members: &mut Members) -> Distributed {
        let mut after = self.distribute(members);
        let present = members.present();
        let list = presence::everybody(self.name(), &present);
        for link in members.roster().into_iter().flat_map(presence::Roster::watchers) {
            self.tell_list(&mut after, link, list.as_ref(), present.len(), false);
        }
        members.count(&mut after);
        after
    }

    /// What newcomers of a crowd are sent: the same for all who come within a round.
    fn first_page(&self, members: &mut Members) -> Option<Publication> {
        let now = Instant::now();
        let known = members.crowd.as_ref().and_then(|crowd| crowd.page.as_ref());
        if let Some((at, page)) = known
            && now.saturating_duration_since(*at) < ROUND
        {
            return Some(page.clone());
        }
        let page = presence::first_page(self.name(), members.count_present(), &members.page())?;
        if let Some(crowd) = &mut members.crowd {
            crowd.page = Some((now, page.clone()));
        }
        Some(page)
    }

    /// Tells the next of a crowd how many it is.
    pub(super) fn tell_crowd(&self, members: &mut Members, now: Instant) -> Distributed {
        let mut after = Distributed::default();
        let count = members.count_present();
        let Some(mut crowd) = members.crowd.take_if(|crowd| crowd.next.is_some_and(|next| next <= now)) else {
            return after;
        };
        if crowd.last.is_none() {
            (crowd.round, crowd.count) = (Some(now), count);
        }
        let last = crowd.last.take();
        if let (Some(roster), Some(number)) = (members.roster(), presence::only_count(self.name(), count, true)) {
            for link in roster.watchers_behind(last).take(SLICE) {
                after.enqueue(link, &number, Terms::OF_CONNECTION);
                crowd.last = Some(link.id());
            }
        }
        let is_over = crowd.last.is_none();
        crowd.next = match crowd.round {
            _ if !is_over => Some(now + PAUSE),
            // Somebody who was told early in the round knows another number.
            Some(began) if crowd.count != count => Some((began + ROUND).max(now + PAUSE)),
            _ => None,
        };
        members.crowd = Some(crowd);
        members.count(&mut after);
        after
    }
}
