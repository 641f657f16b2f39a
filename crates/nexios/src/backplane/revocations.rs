//! Whose connections were closed lately, for nodes that could not be reached when they were told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexios_proto::{CloseCode, CloseFrame};
use tokio::time::Instant;

use super::node::Node;
use super::wire::{Body, Control};
use super::{Channel, NodeId};

/// So many are remembered, and for so long: a node is not away for longer, or its clients are.
const REMEMBERED: (usize, Duration) = (1024, Duration::from_mins(10));

/// What this node has told the others, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Revocations(Mutex<VecDeque<Revoked>>);

#[derive(Clone, Debug)]
struct Revoked {
    at: Instant,
    user: Box<str>,
    code: u16,
    reason: Box<str>,
}

impl Revocations {
    fn note(&self, revoked: Revoked) {
        let mut all = self.lately();
        if all.len() >= REMEMBERED.0 {
            all.pop_front();
        }
        all.push_back(revoked);
    }

    fn lately(&self) -> MutexGuard<'_, VecDeque<Revoked>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.front().is_some_and(|oldest| oldest.at.elapsed() > REMEMBERED.1) {
            all.pop_front();
        }
        all
    }
}

impl Node {
    /// Closes a user's connections on the other nodes.
    pub(crate) fn close_user(&self, user: &str, code: u16, reason: &str) {
        let revoked = Revoked { at: Instant::now(), user: user.into(), code, reason: reason.into() };
        self.revocations.note(revoked.clone());
        let Revoked { user, code, reason, .. } = revoked;
        self.push(&Channel::all_nodes(), &Body::Control(Control::CloseUser { user, code, reason, ago: None }));
    }

    /// What goes to all nodes may not have reached this one.
    pub(super) fn ask_for_revocations(&self) {
        self.push(&Channel::all_nodes(), &Body::Control(Control::Missed));
    }

    pub(super) fn tell_revocations(&self, to: NodeId) {
        let lately = self.revocations.lately().clone();
        for Revoked { at, user, code, reason } in lately {
            let ago = u64::try_from(at.elapsed().as_millis()).ok();
            self.push(&Channel::node(to), &Body::Control(Control::CloseUser { user, code, reason, ago }));
        }
    }

    pub(super) fn revoke(&self, user: &str, code: u16, reason: &str, ago: Option<u64>) {
        // Who has come back since then has been let in again. Nodes' clocks differ, so it is told how long ago that was; what comes in
        // while this is on its way is closed, too.
        let until = ago.and_then(|ago| Instant::now().checked_sub(Duration::from_millis(ago)));
        // Reported by a peer, so untrusted: the user is closed all the same.
        let code = Some(CloseCode::from(code)).filter(|code| code.is_sendable()).unwrap_or(CloseCode::UNAUTHORIZED);
        self.users.close(user, &CloseFrame::new(code, reason), until);
    }
}
