//! What was asked of the server and not answered yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Message, Subject};
use nexios::backplane::BackplaneError;
use tokio::sync::oneshot;

use crate::state::State;

/// The questions of one connection.
pub(crate) struct Questions {
    inbox: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    /// Where it was sent to: the server names that, and not the question, when it does not pass it on.
    subject: Subject,
    answer: oneshot::Sender<Result<Message, BackplaneError>>,
}

impl Questions {
    /// Answers come to subjects below this one.
    pub(crate) fn new(inbox: String) -> Self {
        Self { inbox, next: AtomicU64::new(0), waiting: Mutex::default() }
    }

    /// What to subscribe to.
    pub(crate) fn inbox(&self) -> String {
        format!("{}.*", self.inbox)
    }

    /// One more, which is about to be sent to a subject; without one, to where its answer comes.
    pub(crate) fn ask(self: &Arc<Self>, subject: Option<&Subject>, state: &Arc<State>) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let reply = Subject::from(format!("{}.{number}", self.inbox));
        let (answer, message) = oneshot::channel();
        self.waiting().insert(number, Waiting { subject: subject.unwrap_or(&reply).clone(), answer });
        Answer { number, reply, questions: self.clone(), state: state.clone(), message }
    }

    pub(crate) fn answer(&self, answer: Message) {
        let number = answer.subject.get(self.inbox.len() + 1..).and_then(|number| number.parse().ok());
        if let Some(waiting) = number.and_then(|number: u64| self.waiting().remove(&number)) {
            // Fails when nobody waits any more.
            let _ = waiting.answer.send(Ok(answer));
        }
    }

    /// The server does not let this user publish to a subject: what was asked there will not be answered.
    pub(crate) fn refuse(&self, subject: &str, text: &str) {
        let refused: Vec<_> = self
            .waiting()
            .extract_if(|_, waiting| waiting.subject.as_str() == subject)
            .map(|(_, refused)| refused)
            .collect();
        for waiting in refused {
            let _ = waiting.answer.send(Err(BackplaneError::refused(format!("the NATS server: {text}"))));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a question that was sent. Dropped, it is not waited for.
pub(crate) struct Answer {
    number: u64,
    reply: Subject,
    questions: Arc<Questions>,
    state: Arc<State>,
    message: oneshot::Receiver<Result<Message, BackplaneError>>,
}

impl Answer {
    /// Where it comes to.
    pub(crate) fn reply(&self) -> Subject {
        self.reply.clone()
    }

    pub(crate) async fn wait(mut self) -> Result<Message, BackplaneError> {
        tokio::select! {
            answer = &mut self.message => answer.unwrap_or_else(|_| Err(self.state.lost())),
            _ = self.state.ended() => Err(self.state.lost()),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.questions.waiting().remove(&self.number);
    }
}
