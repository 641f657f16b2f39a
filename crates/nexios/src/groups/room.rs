//! Room for new history: the oldest messages of all groups go when the histories together take too much.

use crate::sync::atomic::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::GroupsInner;
use super::history::STREAM;
use super::inner::GroupInner;
use super::members::Members;
use crate::sender::ConnectionId;
use tokio::time::Instant;

impl GroupsInner {
    /// Lets what is kept beyond three quarters of the bound go, the oldest first: shard by shard, each of which is a fair
    /// sample of all, because names are spread by chance. Between two of them others have their turn.
    pub(super) async fn make_room(&self) {
        let kept = self.histories.load(Ordering::Relaxed);
        let beyond = kept.saturating_sub(self.config.histories / 4 * 3);
        if beyond == 0 {
            return;
        }
        for shard in 0..super::names::SHARDS {
            self.thin(&self.names.of_shard(shard), |held| held.saturating_mul(beyond) / kept);
            tokio::task::yield_now().await;
        }
    }

    /// Lets go of as much as `excess` says of what these groups hold.
    fn thin(&self, groups: &[Arc<GroupInner>], excess: impl FnOnce(usize) -> usize) {
        let mut held = 0;
        let mut oldest = BinaryHeap::new();
        for (index, group) in groups.iter().enumerate() {
            let members = group.members();
            held += members.history_size();
            oldest.extend(eviction_order(&members).map(|order| Reverse((order, index))));
        }
        let mut excess = excess(held);
        while excess > 0
            && let Some(Reverse((_, index))) = oldest.pop()
        {
            let group = &groups[index];
            let mut members = group.members();
            let freed = members.drop_oldest();
            if freed == 0 {
                // Nothing is left but the position: the group goes, and takes what it cost off the count by itself.
                members.expire();
                group.look_after(&mut members);
                excess = excess.saturating_sub(STREAM);
                continue;
            }
            oldest.extend(eviction_order(&members).map(|order| Reverse((order, index))));
            self.histories.fetch_sub(freed, Ordering::Relaxed);
            excess = excess.saturating_sub(freed);
        }
    }
}

/// Groups that keep a position alone go before messages: who asks for groups by ever new names evicts nothing of others. Then
/// it is by age.
fn eviction_order(members: &Members) -> Option<(bool, Instant)> {
    let has_messages = members.stream().is_some_and(|stream| stream.len() > 0);
    members.oldest().map(|at| (has_messages, at))
}

impl GroupInner {
    /// Keeps no more than so many bytes of what a connection published.
    pub(super) fn keep_of(self: &Arc<Self>, connection: ConnectionId, most: usize) {
        let mut members = self.members();
        let freed = members.stream_mut().map_or(0, |stream| stream.keep_of(connection, most));
        if freed > 0 && members.len() == 0 && members.stream().is_some_and(|stream| stream.len() == 0) {
            members.expire();
        }
        self.look_after(&mut members);
        drop(members);
        self.freed(freed);
    }
}
