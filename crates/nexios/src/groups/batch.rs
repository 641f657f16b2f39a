//! Publications of one tick, which reach each member together.

use crate::connection::Publication;
use crate::sender::ConnectionId;

/// Bytes of frames that are put off; more are distributed at once, so that a batch is a small part of a member's queue.
const BATCH_MAX: usize = 64 * 1024;

/// Groups of fewer members are sent to at once. A model has no time for so many.
const WORTH_MEMBERS: usize = if cfg!(all(test, nexios_model)) { 2 } else { 16 };

/// What was published to a group and not distributed yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    publications: Vec<(Publication, Option<ConnectionId>)>,
    bytes: usize,
}

impl Batch {
    /// Whether putting off pays for a group of so many members.
    pub(super) fn is_worth(members: usize) -> bool {
        members >= WORTH_MEMBERS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_MAX
    }

    /// Adds a message for all but one.
    pub(super) fn push(&mut self, publication: Publication, except: Option<ConnectionId>) {
        self.bytes += publication.len();
        self.publications.push((publication, except));
    }

    /// All of it as one publication; those whom a part of it is not for take the parts.
    pub(super) fn into_parts(self) -> Parts {
        let whole = match &self.publications[..] {
            [] => None,
            [(single, _)] => Some(single.clone()),
            several => Some(Publication::merged(&several.iter().map(|(publication, _)| publication))),
        };
        let has_exceptions = self.publications.iter().any(|(_, except)| except.is_some());
        Parts { whole, publications: self.publications, has_exceptions }
    }
}

/// A batch that is being distributed.
#[derive(Debug)]
pub(super) struct Parts {
    whole: Option<Publication>,
    publications: Vec<(Publication, Option<ConnectionId>)>,
    has_exceptions: bool,
}

impl Parts {
    /// All of it as one publication, if that is what this member is sent.
    #[inline]
    pub(super) fn whole_for(&self, member: ConnectionId) -> Option<&Publication> {
        let is_for_all = !self.has_exceptions || self.publications.iter().all(|(_, except)| *except != Some(member));
        self.whole.as_ref().filter(|_| is_for_all)
    }

    /// What this member is sent, message by message.
    pub(super) fn each(&self, member: ConnectionId) -> impl Iterator<Item = &Publication> {
        without(&self.publications, member)
    }
}

fn without(
    publications: &[(Publication, Option<ConnectionId>)],
    member: ConnectionId,
) -> impl Iterator<Item = &Publication> {
    publications.iter().filter(move |(_, except)| *except != Some(member)).map(|(publication, _)| publication)
}
