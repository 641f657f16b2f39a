//! Asking all nodes who is in a group that is not here.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::node::Node;
use super::wire::{Body, Control, Entry};
use super::{Channel, NodeId};

/// How long the others may take; whoever has not answered by then is not counted.
const ANSWER: Duration = Duration::from_secs(1);

/// So many are named in an answer, and about so many bytes: engines have a limit (NATS 1 MiB).
const NAMED: (usize, usize) = (2000, 512 * 1024);

/// What was asked and is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    last: u64,
    open: HashMap<u64, Question>,
}

#[derive(Debug)]
struct Question {
    waiting: HashSet<NodeId>,
    answers: Vec<Answer>,
    done: Option<oneshot::Sender<()>>,
}

/// What a node says of a group.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) node: NodeId,
    pub(crate) members: usize,
    pub(crate) present: Vec<Entry>,
}

impl Questions {
    fn ask(&self, nodes: Vec<NodeId>) -> (u64, oneshot::Receiver<()>) {
        let (done, answered) = oneshot::channel();
        let mut asked = self.asked();
        asked.last += 1;
        let number = asked.last;
        let question = Question { waiting: nodes.into_iter().collect(), answers: Vec::new(), done: Some(done) };
        asked.open.insert(number, question);
        (number, answered)
    }

    pub(super) fn answered(&self, number: u64, node: NodeId, members: usize, present: Vec<Entry>) {
        let mut asked = self.asked();
        if let Some(question) = asked.open.get_mut(&number) {
            question.answers.push(Answer { node, members, present });
            question.no_longer_waits_for(node);
        }
    }

    /// Nobody needs to wait for this node.
    pub(super) fn gone(&self, node: NodeId) {
        self.asked().open.values_mut().for_each(|question| question.no_longer_waits_for(node));
    }

    fn close(&self, number: u64) -> Vec<Answer> {
        self.asked().open.remove(&number).map(|question| question.answers).unwrap_or_default()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn no_longer_waits_for(&mut self, node: NodeId) {
        self.waiting.remove(&node);
        if self.waiting.is_empty()
            && let Some(done) = self.done.take()
        {
            // Who has gone does not need to know.
            let _ = done.send(());
        }
    }
}

/// Forgets the question, also of somebody who has stopped waiting.
struct Open<'a>(&'a Questions, u64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

impl Node {
    /// What the other nodes say of a group: all that answer within a second.
    pub(crate) async fn ask(&self, group: &str, list: bool) -> Vec<Answer> {
        let nodes = self.peers.all();
        if nodes.is_empty() || self.is_silent() {
            return Vec::new();
        }
        let (question, answered) = self.questions.ask(nodes);
        let open = Open(&self.questions, question);
        let ask = Control::Ask { question, group: group.into(), list };
        self.push(&Channel::all_nodes(), &Body::Control(ask));
        // Those that are too late are not counted.
        let _ = tokio::time::timeout(ANSWER.min(self.config.timeout), answered).await;
        let answers = self.questions.close(question);
        drop(open);
        answers
    }

    pub(super) fn answer(&self, to: NodeId, question: u64, group: &str, list: bool) {
        let Some(groups) = self.groups.upgrade() else { return };
        let (members, present) = groups.who_is_here(group, if list { NAMED } else { (0, 0) });
        self.push(&Channel::node(to), &Body::Control(Control::Answer { question, members, present }));
    }
}
