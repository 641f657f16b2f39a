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
    /// Nothing waited on that node any more when it said so.
    pub(crate) is_passed_on: bool,
}

/// Somebody was away: the engine, or a node that was frozen or cut off.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) what: String,
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entries {
    /// The origin of all times.
    pub(crate) start: Instant,
    pub(crate) publications: Vec<Publication>,
    pub(crate) outages: Vec<Outage>,
    /// Nodes that were killed, with all that they had not published yet.
    pub(crate) kills: Vec<(usize, Instant)>,
}

pub(crate) struct Ledger(Mutex<Entries>);

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Entries::new(Instant::now())))
    }

    pub(crate) fn sent(&self, group: &Arc<str>, publisher: PublisherId, number: u32, node: usize) -> usize {
        let mut entries = self.0.lock().unwrap();
        let group = Arc::clone(group);
        entries.publications.push(Publication {
            group,
            publisher,
            number,
            node,
            sent: Instant::now(),
            said: None,
            is_passed_on: false,
        });
        entries.publications.len() - 1
    }

    pub(crate) fn said(&self, index: usize, is_passed_on: bool) {
        let publication = &mut self.0.lock().unwrap().publications[index];
        (publication.said, publication.is_passed_on) = (Some(Instant::now()), is_passed_on);
    }

    pub(crate) fn begins(&self, what: &str) -> usize {
        let mut entries = self.0.lock().unwrap();
        entries.outages.push(Outage { what: what.to_owned(), from: Instant::now(), to: None });
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
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, publications: Vec::new(), outages: Vec::new(), kills: Vec::new() }
    }

    /// Seconds from the start, as a text.
    pub(crate) fn at(&self, time: Instant) -> String {
        format!("{:.2}", time.saturating_duration_since(self.start).as_secs_f32())
    }

    /// Returns true if every member must receive it, or a gap notice: its node has accepted it, and was not killed
    /// before it passed it on.
    pub(crate) fn is_certain(&self, publication: &Publication) -> bool {
        let Publication { node, sent, said, is_passed_on, .. } = publication;
        let Some(said) = said else { return false };
        let killed = self.kills.iter().filter(|(killed, at)| killed == node && at >= sent).map(|(_, at)| *at).min();
        let Some(killed) = killed else { return true };
        // Who was told later that nothing waited on this node says it of this one, too.
        let later = |other: &&Publication| other.node == *node && other.sent >= *said && other.sent < killed;
        *is_passed_on || self.publications.iter().filter(later).any(|other| other.is_passed_on)
    }

    /// A possible cause of a gap notice at this time.
    pub(crate) fn reason_for(&self, at: Instant) -> Option<&str> {
        let is_it = |outage: &&Outage| outage.from <= at && outage.to.is_none_or(|to| at <= to + SETTLED);
        self.outages.iter().find(is_it).map(|outage| &*outage.what)
    }
}
