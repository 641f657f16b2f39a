//! Which channels this node listens to: those of groups that are here, its own, and that of all nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::Channel;
use crate::groups::GroupInner;

/// What is wanted, and what the backplane was told.
#[derive(Debug, Default)]
pub(super) struct Channels {
    state: Mutex<State>,
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Channel, Known>,
    changed: Vec<Channel>,
}

#[derive(Debug)]
struct Known {
    want: Want,
    /// The backplane was asked to subscribe.
    is_asked: bool,
}

#[derive(Clone, Debug)]
enum Want {
    Nothing,
    Always,
    /// While this group is here.
    Group(Weak<GroupInner>),
}

/// What there is to do.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<Channel>,
    pub(super) unsubscribe: Vec<Channel>,
    /// Groups whose channels are being subscribed to, or are already.
    pub(super) groups: Vec<Arc<GroupInner>>,
}

impl Channels {
    pub(super) fn want_always(&self, channel: Channel) {
        self.want(channel, Want::Always);
    }

    pub(super) fn want_for(&self, channel: &Channel, group: &Arc<GroupInner>) {
        self.want(channel.clone(), Want::Group(Arc::downgrade(group)));
    }

    fn want(&self, channel: Channel, want: Want) {
        let mut state = self.state();
        match state.known.get_mut(&channel) {
            Some(known) => known.want = want,
            None => drop(state.known.insert(channel.clone(), Known { want, is_asked: false })),
        }
        state.changed.push(channel);
        drop(state);
        self.changed.notify_one();
    }

    /// The group is gone. Another one may have got its name meanwhile: then nothing changes, and it tells for both; otherwise
    /// `goodbye` is called before another one can get it.
    pub(super) fn forget(&self, channel: &Channel, group: *const GroupInner, goodbye: impl FnOnce()) {
        let mut state = self.state();
        let Some(known) = state.known.get_mut(channel) else { return };
        let is_of_group = matches!(&known.want, Want::Group(wanted) if Weak::as_ptr(wanted) == group);
        if is_of_group {
            known.want = Want::Nothing;
            state.changed.push(channel.clone());
            goodbye();
            drop(state);
            self.changed.notify_one();
        }
    }

    /// What has changed since the last time.
    pub(super) fn take(&self) -> Changes {
        let mut state = self.state();
        let State { known, changed } = &mut *state;
        let mut changes = Changes::default();
        // A group that has gone, and another of its name that has come, are one change.
        changed.sort_unstable();
        changed.dedup();
        for channel in changed.drain(..) {
            let Some(entry) = known.get_mut(&channel) else { continue };
            match &entry.want {
                Want::Nothing => {
                    let was_asked = entry.is_asked;
                    known.remove(&channel);
                    if was_asked {
                        changes.unsubscribe.push(channel);
                    }
                    continue;
                }
                Want::Always => {}
                Want::Group(group) => changes.groups.extend(group.upgrade()),
            }
            if !std::mem::replace(&mut entry.is_asked, true) {
                changes.subscribe.push(channel);
            }
        }
        drop(state);
        changes
    }

    /// The group whose channel this is, if it is here.
    pub(super) fn group(&self, channel: &str) -> Option<Arc<GroupInner>> {
        match &self.state().known.get(channel)?.want {
            Want::Group(group) => group.upgrade(),
            Want::Nothing | Want::Always => None,
        }
    }

    /// Every group that is here.
    pub(super) fn groups(&self) -> Vec<Arc<GroupInner>> {
        let state = self.state();
        let groups = state.known.values().filter_map(|known| match &known.want {
            Want::Group(group) => group.upgrade(),
            Want::Nothing | Want::Always => None,
        });
        groups.collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
