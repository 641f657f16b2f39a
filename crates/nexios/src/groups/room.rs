//! Room for new history: the oldest messages of all groups go when the histories together take too much.

use crate::sync::atomic::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::GroupsInner;
use super::history::STREAM;
use super::inner::GroupInner;

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
            oldest.extend(members.oldest().map(|at| Reverse((at, index))));
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
            oldest.extend(members.oldest().map(|at| Reverse((at, index))));
            self.histories.fetch_sub(freed, Ordering::Relaxed);
            excess = excess.saturating_sub(freed);
        }
    }
}
