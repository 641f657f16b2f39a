//! How a node catches up with what it has missed.

use std::mem;
use std::sync::Arc;

use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::lost::Loss;
use super::node::Node;
use super::run::PAUSE;
use super::wire::{Frame, Placed};
use super::{Channel, Keep, Kept, Page};
use crate::groups::{GroupInner, Position};

/// A message of a page, readable.
pub(crate) struct Missed {
    pub(crate) position: Position,
    pub(crate) age: std::time::Duration,
    pub(crate) placed: Placed,
    /// This node published it.
    pub(crate) is_own: bool,
    /// Of its publisher's messages.
    pub(crate) number: u64,
}

impl Node {
    /// Subscriptions were interrupted: what they missed is read, or members are told.
    pub(super) fn catch_up_on(self: &Arc<Self>, groups: Vec<Arc<GroupInner>>) {
        let doubted = groups.iter().filter(|group| group.doubt_others()).map(Arc::downgrade).collect();
        self.bury_those_who_do_not_answer(doubted);
        for group in groups {
            group.ask_who_is_there();
            if group.has_history() {
                self.sync(group);
            } else {
                group.lost(Loss::Placeless);
                group.attached();
            }
        }
    }

    /// The subscriptions stand again: what could not be read until now is read.
    pub(super) fn sync_owed(self: &Arc<Self>) {
        for group in self.channels.groups() {
            if group.is_sync_owed() {
                self.sync(group);
            }
        }
    }

    /// After publishing was not possible: groups with a history may have gone on alone.
    pub(super) fn sync_all(self: &Arc<Self>) {
        for group in self.channels.groups() {
            if group.has_history() {
                self.sync(group);
            }
        }
    }

    /// Brings a group's stream to where the engine's is. Whoever calls this meanwhile is served by the same task.
    pub(super) fn sync(self: &Arc<Self>, group: Arc<GroupInner>) {
        // When it is no longer apart, all are synchronised.
        if !group.has_history() || self.is_apart() {
            return group.attached();
        }
        if group.begin_sync() {
            let node = Arc::clone(self);
            self.spawn(async move { node.sync_now(group).await });
        }
    }

    async fn sync_now(self: Arc<Self>, mut group: Arc<GroupInner>) {
        let mut pause = PAUSE.0;
        loop {
            let page = self.read(&group, group.known_position()).await;
            let is_read = page.is_some();
            if let Some(mut page) = page {
                let missed = self.readable(mem::take(&mut page.messages));
                group.catch_up_with(&page, missed);
                if !self.is_apart() {
                    group.has_seen_the_engine();
                }
            }
            group.attached();
            // When the engine is back from being away, all groups are synchronised; otherwise nobody else asks for it.
            if is_read || self.is_silent() {
                if !group.sync_again() {
                    return;
                }
                continue;
            }
            let waiting = Arc::downgrade(&group);
            // Meanwhile its last member may leave.
            drop(group);
            let share = rand::rng().random_range(0.5..1.5);
            sleep(pause.mul_f64(share)).await;
            pause = (pause * 2).min(PAUSE.1);
            let Some(still_there) = waiting.upgrade() else { return };
            group = still_there;
        }
    }

    /// What the engine keeps of a group.
    pub(crate) async fn read(&self, group: &GroupInner, since: Option<Position>) -> Option<Page> {
        self.read_channel(group.channel()?, group.keep()?, since).await
    }

    pub(crate) async fn read_channel(&self, channel: &Channel, keep: Keep, since: Option<Position>) -> Option<Page> {
        let _turn = self.reads.acquire().await.ok()?;
        match timeout(self.config.timeout, self.backplane.read(channel, keep, since)).await {
            Ok(Ok(page)) => Some(page),
            Ok(Err(error)) => {
                tracing::debug!(%channel, %error, "a stream could not be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Messages of a page that this version can read.
    pub(crate) fn readable(&self, messages: Vec<Kept>) -> Vec<Missed> {
        let readable = messages.into_iter().filter_map(|kept| match Frame::read(kept.payload) {
            Ok(Frame { id, body }) => {
                let (placed, is_own) = (body.placed()?, id.node == self.id);
                Some(Missed { position: kept.position, age: kept.age, placed, is_own, number: id.number })
            }
            Err(_) => None,
        });
        readable.collect()
    }
}
