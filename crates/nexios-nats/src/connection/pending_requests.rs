//! Requests of one connection that have no reply yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Message, Subject};
use nexios::backplane::BackplaneError;
use tokio::sync::oneshot;

use super::state::ConnectionState;

/// The pending requests of one connection, by number.
pub(crate) struct PendingRequests {
    inbox: String,
    next: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
}

struct Pending {
    /// The subject of the request. The server names it, and not the request, in a permission error.
    subject: Subject,
    reply: oneshot::Sender<Result<Message, BackplaneError>>,
}

impl PendingRequests {
    /// Replies arrive at subjects below `inbox`.
    pub(crate) fn new(inbox: String) -> Self {
        Self { inbox, next: AtomicU64::new(0), pending: Mutex::default() }
    }

    /// The subject to subscribe to for all replies.
    pub(crate) fn inbox(&self) -> String {
        format!("{}.*", self.inbox)
    }

    /// Registers a request that is about to be sent to `subject`; without one, to its own reply subject.
    pub(crate) fn register(self: &Arc<Self>, subject: Option<&Subject>, state: &Arc<ConnectionState>) -> PendingReply {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let reply_subject = Subject::from(format!("{}.{number}", self.inbox));
        let (reply, message) = oneshot::channel();
        self.pending().insert(number, Pending { subject: subject.unwrap_or(&reply_subject).clone(), reply });
        PendingReply { number, reply_subject, requests: self.clone(), state: state.clone(), message }
    }

    /// Gives a reply to the request that waits for it.
    pub(crate) fn resolve(&self, reply: Message) {
        let number = reply.subject.get(self.inbox.len() + 1..).and_then(|number| number.parse().ok());
        if let Some(pending) = number.and_then(|number: u64| self.pending().remove(&number)) {
            // Fails when the request was dropped meanwhile.
            let _ = pending.reply.send(Ok(reply));
        }
    }

    /// Fails the requests to a subject that this user may not publish to: they will get no reply.
    pub(crate) fn refuse(&self, subject: &str, text: &str) {
        let refused: Vec<_> = self
            .pending()
            .extract_if(|_, pending| pending.subject.as_str() == subject)
            .map(|(_, refused)| refused)
            .collect();
        for pending in refused {
            let _ = pending.reply.send(Err(BackplaneError::refused(format!("the NATS server: {text}"))));
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reply to a request. Dropping it removes the request.
pub(crate) struct PendingReply {
    number: u64,
    reply_subject: Subject,
    requests: Arc<PendingRequests>,
    state: Arc<ConnectionState>,
    message: oneshot::Receiver<Result<Message, BackplaneError>>,
}

impl PendingReply {
    /// The subject at which the reply arrives.
    pub(crate) fn subject(&self) -> Subject {
        self.reply_subject.clone()
    }

    pub(crate) async fn wait(mut self) -> Result<Message, BackplaneError> {
        tokio::select! {
            reply = &mut self.message => reply.unwrap_or_else(|_| Err(self.state.lost())),
            _ = self.state.ended() => Err(self.state.lost()),
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.requests.pending().remove(&self.number);
    }
}
