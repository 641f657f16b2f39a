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

/// A function of the application's that is told of events.
pub(super) struct Hook<E = MemberEvent>(Arc<dyn Fn(&E) + Send + Sync>);

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

/// What a hook is told of.
pub(super) trait HookEvent {
    /// Tells the operator that the hook has panicked over it.
    fn log_panic(&self);
}

impl HookEvent for MemberEvent {
    fn log_panic(&self) {
        tracing::error!(id = %self.connection(), "a hook on joins or leaves panicked");
    }
}

impl<E: HookEvent> Hook<E> {
    pub(super) fn new(hook: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Under no lock.
    pub(super) fn call(&self, event: &E) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(event))).is_err() {
            event.log_panic();
        }
    }
}

impl<E> Clone for Hook<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> fmt::Debug for Hook<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
