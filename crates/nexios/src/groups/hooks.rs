//! The app's hooks on joins and leaves.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::sender::{ConnectionId, Sender};

/// A connection joined or left a group.
#[derive(Clone, Debug)]
pub struct MemberEvent {
    group: Arc<str>,
    sender: Sender,
    user: Option<Arc<str>>,
}

#[derive(Clone)]
pub(super) struct Hook(Arc<dyn Fn(&MemberEvent) + Send + Sync>);

impl MemberEvent {
    pub(super) fn new(group: Arc<str>, sender: Sender, user: Option<Arc<str>>) -> Self {
        Self { group, sender, user }
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Which connection.
    pub fn connection(&self) -> ConnectionId {
        self.sender.id()
    }

    /// For sending to the connection, if it has not ended.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The key that it joined with: [`Join::user`](crate::Join::user).
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl Hook {
    pub(super) fn new(hook: impl Fn(&MemberEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Under no lock.
    pub(super) fn call(&self, event: &MemberEvent) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(event))).is_err() {
            tracing::error!(id = %event.connection(), "a hook on joins or leaves panicked");
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
