//! Who is behind a connection, and until when.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::link::{Link, Phase, State};
use super::wheel::{Deadline, Purpose};
use crate::auth::{Identity, Listed};
use crate::server::SharedBucket;
use crate::{Error, Result};

/// What is known of the other end. Connections of which nothing is known have none.
#[derive(Debug, Default)]
pub(super) struct Caller {
    identity: Option<Identity>,
    /// When the identity expires; or, without one, when it is too late for it.
    deadline: Option<Deadline>,
    listed: Option<Listed>,
    /// What all connections from its address may send.
    messages: Option<SharedBucket>,
}

/// What was let go of under the lock and is dropped after it.
pub(super) type Released = (Option<Deadline>, Option<Listed>);

impl Link {
    /// Messages count for the client's address, too.
    pub(crate) fn share_rate(&self, messages: SharedBucket) {
        self.lock().caller.get_or_insert_default().messages = Some(messages);
    }

    pub(super) fn shared_rate(&self) -> Option<SharedBucket> {
        self.lock().caller.as_ref()?.messages.clone()
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.lock().caller.as_ref()?.identity.clone()
    }

    /// Notes whose connection this is, in place of whoever it was. Of one connection there is one such call at a time.
    pub(crate) fn authenticate(self: &Arc<Self>, identity: Identity) -> Result {
        let remaining = identity.remaining();
        if remaining.is_some() {
            // The deadline is kept by the runtime's thread.
            Handle::try_current().map_err(Error::other)?;
        }
        let mut state = self.lock();
        state.check_not_closing()?;
        let caller = state.caller.get_or_insert_default();
        let is_listed = caller.listed.as_ref().is_some_and(|listed| listed.is_of(identity.user()));
        let old = caller.deadline.take();
        drop(state);
        // Before there is a new one: both may be of the same purpose, and fall into the same slot of the wheel.
        drop(old);
        // Never unlisted in between: whoever closes a user's connections finds one whose token is being refreshed, too.
        let users = self.users().filter(|_| !is_listed);
        let listed = users.map(|users| users.list(identity.shared_user(), self));
        let deadline = remaining.map(|remaining| Deadline::new(self, Purpose::Expiry, remaining));

        let mut state = self.lock();
        let mut released = (deadline, listed);
        let ended = if let Phase::Ended(end) = &state.phase { Some(end.clone()) } else { None };
        if ended.is_none() {
            let caller = state.caller.get_or_insert_default();
            caller.identity = Some(identity);
            caller.deadline = released.0.take();
            if let Some(listed) = released.1.take() {
                released.1 = caller.listed.replace(listed);
            }
        }
        drop(state);
        drop(released);
        ended.map_or(Ok(()), |end| Err(end.into()))
    }

    /// The connection was accepted: somebody has to be authenticated, if that is wanted.
    pub(super) fn await_authentication(self: &Arc<Self>) {
        let Some(timeout) = self.config().authentication_timeout else { return };
        if self.is_client() || self.identity().is_some() {
            return;
        }
        let deadline = Deadline::new(self, Purpose::Authentication, timeout);
        let mut state = self.lock();
        let is_over = matches!(state.phase, Phase::Ended(_));
        let unused =
            if is_over { Some(deadline) } else { state.caller.get_or_insert_default().deadline.replace(deadline) };
        drop(state);
        drop(unused);
    }
}

impl State {
    /// The connection ends: nothing is to be waited for, and it is no more one of its user's. Who it was is still known.
    pub(super) fn release_caller(&mut self) -> Released {
        self.caller.as_mut().map_or((None, None), |caller| (caller.deadline.take(), caller.listed.take()))
    }

    fn check_not_closing(&self) -> Result {
        match &self.phase {
            Phase::Handshake | Phase::Open => Ok(()),
            Phase::Closing(end) | Phase::Ended(end) => Err(end.clone().into()),
        }
    }
}
