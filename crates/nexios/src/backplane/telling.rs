//! Telling other nodes who is in the groups of this one, a little later, so that much is told at once; and looking after
//! streams in which nothing happens.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Channel;
use super::node::Node;
use super::wire::{Body, Presence, Unsent};
use crate::deadline::deadline_after;
use crate::groups::GroupInner;

/// The longest that nobody looks at a silent stream: a message may have been lost, and no other has come to show it.
const LOOK: Duration = Duration::from_mins(5);

impl Node {
    /// A group will have something to tell.
    pub(crate) fn will_tell(&self, group: &Arc<GroupInner>, after: Duration) {
        // Soon enough that nobody needs to forget it.
        let _ = self.telling.add(deadline_after(Instant::now(), after), group);
    }

    /// False when there is no room for it.
    pub(crate) fn tell(&self, channel: &Channel, presence: Presence) -> bool {
        self.outbox.push(channel, Unsent::new(&Body::Presence(presence))).is_ok()
    }

    pub(super) async fn tell_presence(&self) {
        loop {
            for group in self.telling.due().await {
                let Some(channel) = group.channel() else { continue };
                if !group.untold().into_iter().all(|presence| self.tell(channel, presence)) {
                    group.tell_again();
                }
            }
            yield_now().await;
        }
    }

    /// A stream is looked at several times before it would be too old for the engine to remember where it was.
    pub(crate) fn will_look_at_stream(&self, group: &Arc<GroupInner>) {
        if let Some(keep) = group.keep() {
            let longest = LOOK.min(keep.age / 3).max(Duration::from_millis(100));
            // Of those that came together, not all are looked at together.
            let share = rand::rng().random_range(0.5..1.0);
            group.looked_at_later(self.looking.add(Instant::now() + longest.mul_f64(share), group));
        }
    }

    pub(super) async fn look_at_streams(self: &Arc<Self>) {
        loop {
            for group in self.looking.due().await {
                self.will_look_at_stream(&group);
                if !group.was_active() {
                    self.sync(group);
                }
            }
            yield_now().await;
        }
    }
}
