//! What was published and noticed in one turn, which reaches each member together.

use super::envelope;
use crate::connection::{Publication, Terms};
use crate::sender::ConnectionId;

/// Bytes of frames that are put off; more are distributed at once, so that a batch is a small part of a member's queue.
const BATCH_MAX: usize = 64 * 1024;

/// Groups of fewer members are sent to at once. A model has no time for so many.
const WORTH_MEMBERS: usize = if cfg!(all(test, nexios_model)) { 2 } else { 16 };

/// What was published to a group and not distributed yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    bytes: usize,
    /// Who joined meanwhile, and behind how many of them: what came before is not for a newcomer.
    newcomers: Vec<(ConnectionId, usize)>,
}

#[derive(Debug)]
struct Item {
    publication: Publication,
    except: Option<ConnectionId>,
    /// It is told to those who asked for notices, on the terms of their connections.
    is_notice: bool,
}

impl Batch {
    /// Whether putting off pays for a group of so many members.
    pub(super) fn is_worth(members: usize) -> bool {
        members >= WORTH_MEMBERS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_MAX
    }

    /// Adds a message for all but one.
    pub(super) fn push(&mut self, publication: Publication, except: Option<ConnectionId>) {
        self.bytes += publication.len();
        self.items.push(Item { publication, except, is_notice: false });
    }

    /// Adds a notice for all but one of those who asked for notices.
    pub(super) fn push_notice(&mut self, publication: Publication, except: Option<ConnectionId>) {
        self.bytes += publication.len();
        self.items.push(Item { publication, except, is_notice: true });
    }

    /// The messages that are for this member, without notices.
    pub(super) fn messages_for(&self, member: ConnectionId) -> impl Iterator<Item = &Publication> {
        let newcomer = self.newcomers.iter().rev().find(|(newcomer, _)| *newcomer == member);
        let items = self.items.iter().skip(newcomer.map_or(0, |(_, behind)| *behind));
        items.filter(move |item| item.except != Some(member) && !item.is_notice).map(|item| &item.publication)
    }

    /// A member has joined behind what is in here.
    pub(super) fn has_joined(&mut self, member: ConnectionId) {
        if !self.is_empty() {
            self.newcomers.push((member, self.items.len()));
        }
    }

    /// All of it as one publication; those whom a part of it is not for take the parts.
    pub(super) fn into_parts(self) -> Parts {
        let Self { items, mut newcomers, .. } = self;
        let mut exceptions: Vec<_> = items.iter().filter_map(|item| item.except).collect();
        exceptions.sort_unstable();
        // Of one that left and joined again, the last place counts.
        newcomers.reverse();
        newcomers.sort_by_key(|(member, _)| *member);
        newcomers.dedup_by_key(|(member, _)| *member);
        let (notices, messages) = items.iter().fold((0, 0), |(notices, messages), item| {
            (notices + usize::from(item.is_notice), messages + usize::from(!item.is_notice))
        });
        let counts = Counts { notices, messages };
        let mut parts =
            Parts { whole: None, messages: None, items, exceptions, newcomers, counts, is_enveloped: false };
        parts.merge();
        parts
    }
}

/// A batch that is being distributed.
#[derive(Debug)]
pub(super) struct Parts {
    /// All of it.
    whole: Option<Publication>,
    /// All of it but notices, if that is something else.
    messages: Option<Publication>,
    items: Vec<Item>,
    exceptions: Vec<ConnectionId>,
    newcomers: Vec<(ConnectionId, usize)>,
    counts: Counts,
    is_enveloped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    notices: usize,
    messages: usize,
}

/// What a member is sent of a batch.
#[derive(Debug)]
pub(super) enum Share<'a> {
    Nothing,
    Whole(&'a Publication),
    /// Message by message: [`Parts::each`].
    Parts,
}

impl Parts {
    /// Nothing but notices is in it.
    pub(super) fn are_notices(&self) -> bool {
        self.counts.messages == 0
    }

    pub(super) fn has_notices(&self) -> bool {
        self.counts.notices > 0
    }

    /// What this member is sent; `watches`: it asked for notices.
    #[inline]
    pub(super) fn share_of(&self, member: ConnectionId, watches: bool) -> Share<'_> {
        let is_for_all = (self.exceptions.is_empty() || self.exceptions.binary_search(&member).is_err())
            && (self.newcomers.is_empty() || self.begin_of(member) == 0);
        if !is_for_all {
            return Share::Parts;
        }
        let share = if watches || !self.has_notices() { &self.whole } else { &self.messages };
        share.as_ref().map_or(Share::Nothing, Share::Whole)
    }

    /// What this member is sent, message by message, and on which terms.
    pub(super) fn each(
        &self,
        member: ConnectionId,
        watches: bool,
        terms: Terms,
    ) -> impl Iterator<Item = (&Publication, Terms)> {
        let items = self.items.iter().skip(self.begin_of(member));
        let items = items.filter(move |item| item.except != Some(member) && (watches || !item.is_notice));
        items.map(move |item| (&item.publication, if item.is_notice { Terms::OF_CONNECTION } else { terms }))
    }

    /// Behind how many of them the member joined.
    fn begin_of(&self, member: ConnectionId) -> usize {
        let at = self.newcomers.binary_search_by_key(&member, |(newcomer, _)| *newcomer);
        at.map_or(0, |at| self.newcomers[at].1)
    }

    /// Puts texts into envelopes, for those who get them in no other form. False when they are.
    #[cold]
    pub(super) fn envelop(&mut self, group: &str) -> bool {
        if std::mem::replace(&mut self.is_enveloped, true) {
            return false;
        }
        for item in &mut self.items {
            item.publication = envelope::enveloped(item.publication.clone(), Some(group), &[]);
        }
        self.merge();
        true
    }

    fn merge(&mut self) {
        let Counts { notices, messages } = self.counts;
        self.whole = merged(&self.items.iter().map(|item| &item.publication), notices + messages);
        if notices > 0 {
            let messages_only = self.items.iter().filter(|item| !item.is_notice);
            self.messages = merged(&messages_only.map(|item| &item.publication), messages);
        }
    }
}

fn merged<'a>(publications: &(impl Iterator<Item = &'a Publication> + Clone), count: usize) -> Option<Publication> {
    match count {
        0 => None,
        1 => publications.clone().next().cloned(),
        _ => Some(Publication::merged(publications)),
    }
}

#[cfg(test)]
mod tests {
    use nexios_proto::Message;

    use super::*;

    fn text(text: &str) -> Publication {
        Publication::new(&Message::from(text), [])
    }

    #[test]
    fn each_member_is_sent_what_came_behind_its_joining_and_notices_only_where_it_asked() {
        let id = ConnectionId::new;
        let mut batch = Batch::default();
        batch.push(text("one"), None);
        batch.push_notice(text("two joined"), None);
        batch.has_joined(id(2));
        batch.push(text("three"), Some(id(1)));
        batch.has_joined(id(3));
        batch.has_joined(id(2));
        batch.push_notice(text("four joined"), Some(id(4)));
        let parts = batch.into_parts();
        let sent = |member, watches| {
            let each =
                parts.each(id(member), watches, Terms::OF_CONNECTION).map(|(publication, _)| publication.message());
            each.map(|message| message.unwrap().as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(sent(1, true), ["one", "two joined", "four joined"]);
        assert_eq!(sent(2, true), ["four joined"], "it left and joined again");
        assert_eq!(sent(3, false), [] as [&str; 0]);
        assert_eq!(sent(4, true), ["one", "two joined", "three"]);
        assert_eq!(sent(5, false), ["one", "three"]);
        assert!(
            matches!(parts.share_of(id(5), false), Share::Whole(_))
                && matches!(parts.share_of(id(3), true), Share::Parts)
        );
        assert!(!parts.are_notices() && parts.has_notices());
    }
}
