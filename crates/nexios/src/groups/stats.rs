//! What groups have done and hold.

use serde::Serialize;

use super::Groups;
use super::history::Stream;
use super::inner::GroupInner;
use super::names::SHARDS;
use crate::sync::atomic::{AtomicU64, Ordering};

/// All groups of an app, at a glance ([`Groups::stats`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupsStats {
    /// Groups that have members, a history, or somebody who is waited for.
    pub groups: usize,
    /// Members of all groups: a connection counts once in each of its groups.
    pub members: usize,
    /// Messages that were published, since the app began.
    pub publications: u64,
    /// Messages that a member did not get because it did not keep up: one for each message and member.
    pub dropped: u64,
    /// Members that were closed because they did not keep up.
    pub slow_consumers: u64,
    /// Messages in all histories.
    pub history_messages: usize,
    /// What they take, in bytes.
    pub history_bytes: usize,
    /// What waits in the queues of the app's connections, in bytes, wherever it came from.
    pub queued_bytes: usize,
}

/// One group, at a glance ([`Group::stats`](crate::Group::stats)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupStats {
    /// Connections.
    pub members: usize,
    /// Messages that were published, since the group came into being.
    pub publications: u64,
    /// Messages that a member did not get because it did not keep up: one for each message and member.
    pub dropped: u64,
    /// Members that were closed because they did not keep up.
    pub slow_consumers: u64,
    /// Messages in its history.
    pub history_messages: usize,
    /// What they take, in bytes.
    pub history_bytes: usize,
    /// What waits in the queues of its members, in bytes, wherever it came from.
    pub queued_bytes: usize,
}

/// What a group counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) publications: u64,
    pub(super) dropped: u64,
    pub(super) slow: u64,
}

/// What groups counted that are gone.
#[derive(Debug, Default)]
pub(super) struct Past {
    publications: AtomicU64,
    dropped: AtomicU64,
    slow: AtomicU64,
}

impl Past {
    pub(super) fn add(&self, counts: Counts) {
        let Counts { publications, dropped, slow } = counts;
        for (total, count) in [(&self.publications, publications), (&self.dropped, dropped), (&self.slow, slow)] {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

impl GroupInner {
    pub(super) fn stats(&self) -> GroupStats {
        let members = self.members();
        let Counts { publications, dropped, slow } = members.counts();
        GroupStats {
            members: members.len(),
            publications,
            dropped,
            slow_consumers: slow,
            history_messages: members.stream().map_or(0, Stream::len),
            history_bytes: members.history_size(),
            queued_bytes: members.iter().map(|link| link.queued()).sum(),
        }
    }
}

impl Groups {
    /// What the groups have done and hold. It looks at every group and every connection: for an operator, now and
    /// then.
    pub fn stats(&self) -> GroupsStats {
        let queued_bytes = self.inner().connections.all().iter().map(|link| link.queued()).sum();
        GroupsStats { queued_bytes, ..self.totals() }
    }

    /// The same without a look at the connections' queues.
    pub(crate) fn totals(&self) -> GroupsStats {
        let past = &self.inner().past;
        let mut all = GroupsStats {
            publications: past.publications.load(Ordering::Relaxed),
            dropped: past.dropped.load(Ordering::Relaxed),
            slow_consumers: past.slow.load(Ordering::Relaxed),
            ..GroupsStats::default()
        };
        for group in (0..SHARDS).flat_map(|shard| self.inner().names.of_shard(shard)) {
            let one = group.stats();
            all.groups += 1;
            all.members += one.members;
            all.publications += one.publications;
            all.dropped += one.dropped;
            all.slow_consumers += one.slow_consumers;
            all.history_messages += one.history_messages;
            all.history_bytes += one.history_bytes;
        }
        all
    }
}
