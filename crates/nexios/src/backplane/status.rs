//! Whether the engine is there, and what has gone through it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::NodeId;

/// How an app and its backplane are ([`AppHandle::backplane`](crate::AppHandle::backplane)). Counts begin with the app.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackplaneStatus {
    /// The engine's name.
    pub engine: &'static str,
    /// This node.
    pub node: NodeId,
    /// Since when and why the engine is away, as a text; `None` while it is there.
    pub away: Option<String>,
    /// Other nodes that were heard of within [`node_ttl`](crate::BackplaneConfig::node_ttl).
    pub nodes: usize,
    /// Messages that the engine has taken.
    pub published: u64,
    /// Messages that came from it.
    pub received: u64,
    /// What waits to be published, in bytes.
    pub outbox_bytes: usize,
    /// Messages for which the outbox had no room, or that the engine refused.
    pub lost: u64,
    /// How often groups of this node may have missed something, and their members were told.
    pub gaps: u64,
    /// How often the engine went away.
    pub outages: u64,
}

#[cfg(feature = "metrics")]
impl BackplaneStatus {
    /// Both together, of apps of one process: away if one is.
    pub(crate) fn add(&mut self, other: Self) {
        self.away = self.away.take().or(other.away);
        self.nodes = self.nodes.max(other.nodes);
        self.published += other.published;
        self.received += other.received;
        self.outbox_bytes += other.outbox_bytes;
        self.lost += other.lost;
        self.gaps += other.gaps;
        self.outages += other.outages;
    }
}

#[derive(Debug)]
pub(super) struct Status {
    state: Mutex<State>,
    pub(super) published: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) gaps: AtomicU64,
}

#[derive(Debug)]
struct State {
    publishing: Option<Away>,
    keeping: Option<Away>,
    subscriptions: Option<Away>,
    outages: u64,
}

#[derive(Debug)]
struct Away {
    reason: String,
    since: Instant,
}

/// What the engine is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Messages without a place.
    Publishing,
    /// Messages that are to get one.
    Keeping,
    Subscriptions,
}

impl Status {
    /// Publishing is tried; subscriptions stand when the backplane says so.
    pub(super) fn new() -> Self {
        let connecting = Away { reason: "connecting".to_owned(), since: Instant::now() };
        let state = State { publishing: None, keeping: None, subscriptions: Some(connecting), outages: 0 };
        Self {
            state: Mutex::new(state),
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
        }
    }

    /// True when it was there until now.
    pub(super) fn went_away(&self, way: Way, reason: &str) -> bool {
        let mut state = self.state();
        let was_there = state.is_there();
        let since = state.of(way).take().map_or_else(Instant::now, |away| away.since);
        *state.of(way) = Some(Away { reason: reason.to_owned(), since });
        state.outages += u64::from(was_there);
        was_there
    }

    /// For how long it was away in this way, and whether it is there in both now.
    pub(super) fn came_back(&self, way: Way) -> (Option<std::time::Duration>, bool) {
        let mut state = self.state();
        let away = state.of(way).take();
        let is_there = state.is_there();
        (away.map(|away| away.since.elapsed()), is_there)
    }

    pub(super) fn is_away(&self, way: Way) -> bool {
        self.state().of(way).is_some()
    }

    /// Since when it is away, and why.
    pub(super) fn away(&self) -> Option<String> {
        let state = self.state();
        let away = state.publishing.as_ref().or(state.keeping.as_ref()).or(state.subscriptions.as_ref())?;
        Some(format!("away for {:.1} s: {}", away.since.elapsed().as_secs_f32(), away.reason))
    }

    pub(super) fn outages(&self) -> u64 {
        self.state().outages
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_there(&self) -> bool {
        self.publishing.is_none() && self.keeping.is_none() && self.subscriptions.is_none()
    }

    fn of(&mut self, way: Way) -> &mut Option<Away> {
        match way {
            Way::Publishing => &mut self.publishing,
            Way::Keeping => &mut self.keeping,
            Way::Subscriptions => &mut self.subscriptions,
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
