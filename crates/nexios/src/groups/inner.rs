//! One group, as its members and its name hold it.

use std::fmt;
use std::sync::{Arc, PoisonError, Weak, atomic};
use std::time::Duration;

use tokio::time::Instant;

use super::GroupsInner;
use super::config::GroupConfig;
use super::hooks::{Hook, MemberEvent};
use super::members::{Distributed, Members};
use super::remote::Remote;
use crate::connection::{Link, PutOff, Terms};
use crate::sender::{ConnectionId, Sender};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard};

/// Its locks are taken in this order: `numbering`, `members`, then a shard of the names or a connection's. Of several
/// groups, those at lower addresses first.
pub(crate) struct GroupInner {
    pub(super) groups: Weak<GroupsInner>,
    name: Arc<str>,
    pub(super) config: Arc<GroupConfig>,
    /// Tells it from other groups: its messages in a member's queue, its deadline.
    number: u64,
    /// Held by who publishes messages that tell their positions, while they are encoded; and by whoever brings what the
    /// engine of a backplane has ordered.
    pub(super) numbering: Mutex<()>,
    members: Mutex<Members>,
    /// What joins it to other nodes.
    pub(super) remote: Option<Box<Remote>>,
}

/// Memory of a group without members, its place among the names included, without its name.
const GROUP: usize = 768;

/// Beyond any server's life, and within what a clock can tell.
const LONGEST_GRACE: Duration = Duration::from_hours(100 * 365 * 24);

/// How a connection leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The application said so.
    Asked,
    /// It closes, or was lost, and its user may be back.
    Ended,
}

impl GroupInner {
    pub(super) fn new(
        groups: Weak<GroupsInner>,
        name: Arc<str>,
        config: Arc<GroupConfig>,
        remote: Option<Box<Remote>>,
    ) -> Self {
        static NEXT: atomic::AtomicU64 = atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let members = Mutex::new(Members::new(&config, remote.is_some()));
        Self { groups, name, config, number, numbering: Mutex::default(), members, remote }
    }

    /// What a group takes by itself, in bytes.
    pub(super) fn cost(name: &str) -> usize {
        GROUP + name.len()
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Of the last handle.
    pub(super) fn members_mut(&mut self) -> &mut Members {
        self.members.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How what it sends reaches a member.
    pub(super) fn terms(&self) -> Terms {
        Terms { source: self.number, slow: self.config.slow_consumer, queue: self.config.member_queue }
    }

    /// Queues for every member what was put off.
    pub(super) fn distribute(&self, members: &mut Members) -> Distributed {
        members.distribute(self.terms(), &self.name)
    }

    pub(super) fn remove(self: &Arc<Self>, id: ConnectionId, leaving: Leaving) {
        let mut members = self.members();
        let Some((link, mut after)) = members.remove(id, self.terms(), &self.name) else { return };
        let (user, key) = (members.user_of(id), members.key_of(id));
        let grace = self.config.grace.min(LONGEST_GRACE);
        let gone_at = (leaving == Leaving::Ended && !grace.is_zero() && user.is_some() && can_wait())
            .then(|| Instant::now() + grace);
        let change = members.forget(id, gone_at);
        members.keep_position();
        let change = members.beside_others(change);
        after.append(self.notify(&mut members, change, None));
        after.append(self.size_up(&mut members));
        let untold = members.note_untold(key);
        self.look_after(&mut members);
        drop(members);
        after.finish();
        self.will_tell(untold);
        self.tell(|groups| groups.config.on_leave.as_ref(), &link, user);
    }

    /// Calls a hook of the app, under no lock.
    pub(super) fn tell(
        &self,
        hook: impl FnOnce(&GroupsInner) -> Option<&Hook>,
        link: &Arc<Link>,
        user: Option<Arc<str>>,
    ) {
        if let Some(groups) = self.groups.upgrade()
            && let Some(hook) = hook(&groups)
        {
            hook.call(&MemberEvent::new(Arc::clone(&self.name), Sender::new(Arc::clone(link)), user));
        }
    }

    /// Keeps the group while there is something to keep, and has its next deadline seen to.
    pub(super) fn look_after(self: &Arc<Self>, members: &mut Members) {
        let Some(groups) = self.groups.upgrade() else { return };
        let size = members.size();
        groups.memory.settle(&mut members.counted, size);
        let is_worth_it = members.is_worth_keeping();
        if is_worth_it != members.is_kept {
            members.is_kept = is_worth_it;
            if is_worth_it {
                groups.names.keep(self);
            } else {
                // Not the last handle: the caller has one.
                drop(groups.names.release(self));
            }
        }
        let known = members.deadline;
        if let Some(at) = members.new_deadline(&self.config) {
            if let Some(known) = known {
                groups.deadlines.remove(known, self.number);
            }
            groups.deadlines.add(at, self.number, Arc::downgrade(self), &groups);
        }
    }

    pub(super) fn deadline_has_come(self: &Arc<Self>) {
        let mut members = self.members();
        let now = Instant::now();
        members.deadline = None;
        let freed = members.trim(&self.config, now);
        let mut after = Distributed::default();
        let mut untold = None;
        for change in members.give_up(now) {
            untold = members.note_untold(change.key()).or(untold);
            let change = members.beside_others(Some(change));
            after.append(self.notify(&mut members, change, None));
        }
        after.append(self.size_up(&mut members));
        after.append(self.tell_crowd(&mut members, now));
        self.look_after(&mut members);
        drop(members);
        self.freed(freed);
        after.finish();
        self.will_tell(untold);
    }

    /// Bytes of history are gone.
    pub(super) fn freed(&self, bytes: usize) {
        if bytes > 0
            && let Some(groups) = self.groups.upgrade()
        {
            groups.histories.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Distributes what is noticed of a group in one turn, when it is dropped: at its own turn, or with a runtime that ends.
#[derive(Debug)]
pub(super) struct Flush(Weak<GroupInner>);

impl Flush {
    pub(super) fn new(group: &Arc<GroupInner>) -> Self {
        Self(Arc::downgrade(group))
    }

    /// At the end of this turn. Under no lock: a runtime that ends takes nothing more, and it is dropped here.
    pub(super) fn soon(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(self) });
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(group) = self.0.upgrade() {
            group.catch_up();
        }
    }
}

/// Something can be done later.
pub(super) fn can_wait() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

impl PutOff for GroupInner {
    fn catch_up(&self) {
        let distributed = self.distribute(&mut self.members());
        distributed.finish();
    }

    fn end_tick(&self) {
        let distributed = self.distribute(&mut self.members());
        distributed.finish_tick();
    }
}

impl Drop for GroupInner {
    fn drop(&mut self) {
        if let Some(groups) = self.groups.upgrade() {
            let members = self.members_mut();
            groups.histories.fetch_sub(members.history_size(), Ordering::Relaxed);
            groups.past.add(members.counts());
            let counted = members.counted;
            if let Some(at) = members.deadline {
                groups.deadlines.remove(at, self.number);
            }
            if let Some(node) = groups.node() {
                self.say_goodbye(node);
            }
            groups.names.forget(&self.name);
            groups.memory.give_back(counted + Self::cost(&self.name));
        }
    }
}

impl fmt::Debug for GroupInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupInner").field("name", &self.name).finish_non_exhaustive()
    }
}
