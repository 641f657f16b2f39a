//! Questions to the peer that wait for their answers, and how an answer finds its question.

use std::collections::{BTreeMap, VecDeque};

use nexios_proto::Message;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::link::{Link, Phase, State};
use super::signals::ASKED;
use crate::asking::{Refusal, RequestError};
use crate::disconnect::WebSocketDisconnect;
use crate::websocket::StateError;

/// So many questions of one connection wait for their answers.
const LIMIT: usize = 1_000;

/// Ids of this many questions are remembered after their end, so that a second or late answer is dropped.
const REMEMBERED: usize = 1_000;

/// What a connection has asked; from its first question to its end.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pending: Pending,
    /// The last questions that nobody waits for any more, the newest at the end.
    over: VecDeque<u64>,
}

/// By id. A tree: it gives back its memory when many have been answered, and its keys are not the peer's choice.
pub(super) type Pending = BTreeMap<u64, oneshot::Sender<Answer>>;

/// The JSON of the answer.
type Answer = Result<Box<str>, Refusal>;

/// A question that waits for its answer. Dropping it gives up its place.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    link: &'a Link,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Link {
    /// Takes a place and an id for a question.
    pub(crate) fn ask(&self) -> Result<Asking<'_>, RequestError> {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Open) {
            return Err(why_not_asked(&state.phase));
        }
        let asked = state.asked.get_or_insert_default();
        if asked.pending.len() >= LIMIT {
            return Err(RequestError::TooMany { limit: LIMIT });
        }
        let (sender, answer) = oneshot::channel();
        let id = asked.new_id();
        asked.pending.insert(id, sender);
        self.signals.set(ASKED);
        // From its first question on, what others publish cannot look like one: no text of theirs comes raw.
        state.is_enveloped = true;
        Ok(Asking { link: self, id, answer })
    }

    /// The error of a question that could not be sent.
    pub(crate) fn why_not_asked(&self) -> RequestError {
        why_not_asked(&self.lock().phase)
    }

    /// Gives an answer to who waits for it; false when the message is none, and is for the handler.
    #[cold]
    pub(super) fn catch_answer(&self, message: &Message) -> bool {
        let Some(envelope) = message.as_text().and_then(Envelope::read) else { return false };
        let Some((id, is_refusal)) = envelope.id() else { return false };
        let mut state = self.lock();
        let Some(asked) = state.asked.as_mut().filter(|asked| asked.gave(id)) else { return false };
        let waiting = asked.finish(id);
        drop(state);
        let Some(waiting) = waiting else {
            tracing::trace!(id = %self.id(), question = id, "an answer that nobody waits for");
            return true;
        };
        let data = envelope.data.map_or("null", RawValue::get).into();
        // Who asked may be gone since: then the answer came too late.
        let _ = waiting.send(if is_refusal { Err(Refusal::new(data)) } else { Ok(data) });
        true
    }
}

fn why_not_asked(phase: &Phase) -> RequestError {
    match phase {
        Phase::Handshake => StateError::NotAccepted.into(),
        Phase::Closing(end) | Phase::Ended(end) => end.clone().into(),
        Phase::Open => WebSocketDisconnect::lost().into(),
    }
}

impl State {
    /// The connection has ended: dropping these, under no lock, tells those who wait.
    pub(super) fn take_pending(&mut self) -> Pending {
        self.asked.as_mut().map(|asked| std::mem::take(&mut asked.pending)).unwrap_or_default()
    }
}

impl Asking<'_> {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) async fn answer(&mut self) -> Result<Box<str>, RequestError> {
        match (&mut self.answer).await {
            Ok(answer) => answer.map_err(RequestError::Refused),
            Err(_) => Err(self.link.why_not_asked()),
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        let waiting = state.asked.as_mut().and_then(|asked| asked.finish(self.id));
        drop(state);
        drop(waiting);
    }
}

impl Asked {
    /// An id that cannot be guessed, in the 53 bits that a number of JavaScript holds without loss (RFC 8259 §6).
    fn new_id(&self) -> u64 {
        loop {
            let id = rand::random::<u64>() >> 11;
            if id > 0 && !self.gave(id) {
                return id;
            }
        }
    }

    fn gave(&self, id: u64) -> bool {
        self.pending.contains_key(&id) || self.over.contains(&id)
    }

    /// Nobody waits for this question from now on; returns who did.
    fn finish(&mut self, id: u64) -> Option<oneshot::Sender<Answer>> {
        let waiting = self.pending.remove(&id)?;
        if self.over.len() >= REMEMBERED {
            self.over.pop_front();
        }
        self.over.push_back(id);
        Some(waiting)
    }
}

/// An answer or a refusal, as it comes over the wire.
#[derive(Deserialize)]
struct Envelope<'a> {
    answer: Option<u64>,
    refusal: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn read(text: &'a str) -> Option<Self> {
        // Most messages are no answers, and need not be read as JSON to know that.
        let begins = text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
        if !begins || !(text.contains(r#""answer""#) || text.contains(r#""refusal""#)) {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    /// The question's id, and whether the peer refused; nothing when it names both.
    fn id(&self) -> Option<(u64, bool)> {
        match (self.answer, self.refusal) {
            (Some(id), None) => Some((id, false)),
            (None, Some(id)) => Some((id, true)),
            _ => None,
        }
    }
}
