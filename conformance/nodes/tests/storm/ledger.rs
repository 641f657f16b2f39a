//! What was published, and what was done to nodes and engine: what a stream is checked against.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// After an outage, what waits on a node is published within this time, and members are told of gaps.
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

/// A publisher on one connection: another connection is another publisher, because nobody knows the order of what was
/// under way on the first one.
pub(crate) type PublisherId = u32;

#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) group: Arc<str>,
    pub(crate) publisher: PublisherId,
    /// Counts up from 1 for each publisher and group.
    pub(crate) number: u32,
    pub(crate) node: usize,
    pub(crate) sent: Instant,
    /// When the node said that it has it.
    pub(crate) said: Option<Instant>,
}

/// Somebody was away: the engine, or a node that was frozen or cut off.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) what: String,
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
    pub(crate) is_engine: bool,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Entries {
    pub(crate) publications: Vec<Publication>,
    pub(crate) outages: Vec<Outage>,
    /// Nodes that were killed, with all that they had not published yet.
    pub(crate) kills: Vec<(usize, Instant)>,
}

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Entries>);

impl Ledger {
    pub(crate) fn sent(&self, group: &Arc<str>, publisher: PublisherId, number: u32, node: usize) -> usize {
        let mut entries = self.0.lock().unwrap();
        let group = Arc::clone(group);
        entries.publications.push(Publication { group, publisher, number, node, sent: Instant::now(), said: None });
        entries.publications.len() - 1
    }

    pub(crate) fn said(&self, index: usize) {
        self.0.lock().unwrap().publications[index].said = Some(Instant::now());
    }

    pub(crate) fn begins(&self, what: &str, is_engine: bool) -> usize {
        let mut entries = self.0.lock().unwrap();
        entries.outages.push(Outage { what: what.to_owned(), from: Instant::now(), to: None, is_engine });
        entries.outages.len() - 1
    }

    pub(crate) fn ends(&self, outage: usize) {
        self.0.lock().unwrap().outages[outage].to = Some(Instant::now());
    }

    pub(crate) fn killed(&self, node: usize) {
        self.0.lock().unwrap().kills.push((node, Instant::now()));
    }

    pub(crate) fn entries(&self) -> Entries {
        self.0.lock().unwrap().clone()
    }
}

impl Entries {
    /// Whether all members have to get it, or be told of a gap: its node has taken it, and lived long enough with an engine
    /// to pass it on.
    pub(crate) fn is_certain(&self, publication: &Publication) -> bool {
        let Some(said) = publication.said else { return false };
        let killed = self.kills.iter().filter(|(node, at)| *node == publication.node && *at >= publication.sent);
        killed.map(|(_, at)| *at).min().is_none_or(|killed| self.could_pass_on(said, killed))
    }

    /// Whether the engine was there for long enough between two times.
    fn could_pass_on(&self, from: Instant, to: Instant) -> bool {
        let mut from = from;
        let mut outages: Vec<_> = self.outages.iter().collect();
        outages.sort_by_key(|outage| outage.from);
        for outage in outages {
            if outage.from.saturating_duration_since(from) >= SETTLED && from + SETTLED <= to {
                return true;
            }
            from = from.max(outage.to.unwrap_or(to));
        }
        to.saturating_duration_since(from) >= SETTLED
    }

    /// What may be the reason for a flag at this time.
    pub(crate) fn reason_for(&self, at: Instant) -> Option<&str> {
        let is_it = |outage: &&Outage| outage.from <= at && outage.to.is_none_or(|to| at <= to + SETTLED);
        self.outages.iter().find(is_it).map(|outage| &*outage.what)
    }
}
