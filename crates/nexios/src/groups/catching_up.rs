//! How a group catches up with the engine's stream, and further back than its copy goes.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::GroupsInner;
use super::draft::Draft;
use super::history::{Data, NotRecovered, Stream};
use super::inner::GroupInner;
use super::members::Members;
use super::position::Position;
use crate::backplane::{Missed, Node, Page, Placed};
use crate::connection::Publication;

impl GroupInner {
    /// Goes on from where the engine's stream is: with what was missed, if that is all of it.
    pub(crate) fn catch_up_with(self: &Arc<Self>, page: &Page, missed: Vec<Missed>) {
        let Some(groups) = self.groups() else { return };
        if let Some(reason) = self.follow(page, missed, &groups) {
            groups.gap(self, Some(page.end), Some(reason));
        }
    }

    /// Why members had to be told of a gap.
    fn follow(self: &Arc<Self>, page: &Page, missed: Vec<Missed>, groups: &Arc<GroupsInner>) -> Option<NotRecovered> {
        let _numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.node().is_some_and(|node| node.is_apart()) {
            return None;
        }
        let known = self.known_position();
        let goes_on = page.missing.is_none() && known.is_some_and(|known| known.epoch() == page.end.epoch());
        if goes_on {
            let mut is_told_of_loss = false;
            for one in missed {
                if known.is_some_and(|known| one.position.offset() > known.offset()) {
                    is_told_of_loss |= self.place(one.position, one.placed, one.is_own, groups);
                    if let Some(node) = groups.node().filter(|_| one.is_own) {
                        node.has_arrived(one.number);
                    }
                }
            }
            if let Some(stream) = self.members().stream_mut() {
                stream.skip_to(page.end.offset());
            }
            return is_told_of_loss.then_some(NotRecovered::Trimmed);
        }
        let (floor, missed) = behind_losses(page, missed);
        let mut stream = Stream::copy(page.end, floor);
        for (position, publication, data, at) in self.encoded(missed) {
            stream.push(position.offset(), publication, data, at);
        }
        stream.skip_to(page.end.offset());
        if let Some(remote) = &self.remote {
            remote.announce_nothing();
        }
        let mut members = self.members();
        let mut after = self.distribute(&mut members);
        let grown = members.set_stream(stream);
        let reason = page.missing.unwrap_or(NotRecovered::EpochChanged);
        after.append(self.tell_gap(&mut members));
        self.look_after(&mut members);
        let has_members = members.len() > 0;
        drop(members);
        groups.check_room(groups.count_history(grown));
        after.finish();
        has_members.then_some(reason)
    }

    /// As members were sent them.
    fn encoded(&self, missed: Vec<Missed>) -> Vec<(Position, Publication, Data, Instant)> {
        let now = Instant::now();
        let encoded = missed.into_iter().filter_map(|one| {
            let Placed::Message(posted) = one.placed else { return None };
            let draft = Draft::of_other(posted, one.is_own);
            let (publication, data) = self.encode(&draft, [], Some(one.position)).ok()?;
            Some((one.position, publication, data, now.checked_sub(one.age).unwrap_or(now)))
        });
        encoded.collect()
    }

    /// Fetches what is kept elsewhere, if the copy here does not go back far enough.
    pub(super) async fn reach_back(self: &Arc<Self>, node: &Node, since: Position) {
        self.reach_forward(node, since).await;
        let goes_back =
            |members: &Members| members.stream().is_none_or(|stream| !stream.is_copy() || stream.goes_back_to(since));
        if goes_back(&self.members()) {
            return;
        }
        let Some(mut page) = node.read(self, Some(since)).await else { return };
        let missed = node.readable(std::mem::take(&mut page.messages));
        let (floor, missed) = behind_losses(&page, missed);
        let older = self.encoded(missed);
        let Some(groups) = self.groups() else { return };
        let mut members = self.members();
        let before = members.history_size();
        if page.missing.is_none()
            && let Some(stream) = members.stream_mut()
            && stream.is_copy()
            && stream.position().epoch() == page.end.epoch()
        {
            stream.prepend(floor, page.end.offset(), older);
        }
        let grown = members.history_size() - before;
        drop(members);
        groups.check_room(groups.count_history(grown.cast_signed()));
    }

    /// Fetches what is behind the copy here, if a client has seen that on another node.
    async fn reach_forward(self: &Arc<Self>, node: &Node, since: Position) {
        let is_ahead = |known: &Position| known.epoch() == since.epoch() && known.offset() < since.offset();
        let Some(known) = self.known_position().filter(is_ahead) else { return };
        if let Some(mut page) = node.read(self, Some(known)).await {
            let missed = node.readable(std::mem::take(&mut page.messages));
            self.catch_up_with(&page, missed);
        }
    }
}

/// The messages of a page behind which nothing is lost, and the offset that they begin behind.
fn behind_losses(page: &Page, mut missed: Vec<Missed>) -> (u64, Vec<Missed>) {
    let Some(at) = missed.iter().rposition(|one| matches!(one.placed, Placed::Loss)) else {
        return (page.floor, missed);
    };
    let rest = missed.split_off(at + 1);
    (page.floor.max(missed[at].position.offset()), rest)
}
