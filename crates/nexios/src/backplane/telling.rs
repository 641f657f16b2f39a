//! Telling other nodes who is in the groups of this one, a little later, so that much is told at once.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Channel;
use super::node::Node;
use super::wire::{Body, Presence};
use crate::groups::GroupInner;

/// Groups that have something to tell, and when.
#[derive(Debug, Default)]
pub(super) struct Telling {
    due: Mutex<Vec<(Instant, Weak<GroupInner>)>>,
    changed: Notify,
}

impl Telling {
    /// Those whose time has come, and when the next one's comes.
    fn take(&self) -> (Vec<Arc<GroupInner>>, Option<Instant>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let groups = due.extract_if(.., |(at, _)| *at <= now).map(|(_, group)| group).collect::<Vec<_>>();
        let next = due.iter().map(|(at, _)| *at).min();
        drop(due);
        (groups.iter().filter_map(Weak::upgrade).collect(), next)
    }
}

impl Node {
    /// A group will have something to tell.
    pub(crate) fn will_tell(&self, group: &Arc<GroupInner>, after: Duration) {
        let entry = (Instant::now() + after, Arc::downgrade(group));
        self.telling.due.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        self.telling.changed.notify_one();
    }

    pub(crate) fn tell(&self, channel: &Channel, presence: Presence) {
        self.push(channel, &Body::Presence(presence));
    }

    pub(super) async fn tell_presence(&self) {
        loop {
            let (groups, next) = self.telling.take();
            for group in groups {
                let Some(channel) = group.channel() else { continue };
                for presence in group.untold() {
                    self.tell(channel, presence);
                }
            }
            match next {
                // Whichever comes first.
                Some(next) => drop(timeout_at(next, self.telling.changed.notified()).await),
                None => self.telling.changed.notified().await,
            }
        }
    }
}
