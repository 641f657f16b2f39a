//! Whom a message to several groups has reached, where it comes to one of them after the other.

use std::collections::{HashSet, VecDeque};

use crate::sender::ConnectionId;
use crate::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;

/// So many messages are remembered, or so many connections in all. Who is forgotten may get a message twice.
const REMEMBERED: (usize, usize) = (64, 200_000);

/// The last messages to several groups, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Reached(Mutex<VecDeque<(u64, HashSet<ConnectionId>)>>);

/// Those whom one message has reached. The lock is held meanwhile: it is taken before those of the groups' members.
#[derive(Debug)]
pub(super) struct ReachedBy<'a> {
    all: MutexGuard<'a, VecDeque<(u64, HashSet<ConnectionId>)>>,
}

impl Reached {
    pub(super) fn by(&self, several: u64) -> ReachedBy<'_> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|(number, _)| *number == several).and_then(|at| all.remove(at));
        while all.len() >= REMEMBERED.0 || all.iter().map(|(_, reached)| reached.len()).sum::<usize>() > REMEMBERED.1 {
            all.pop_front();
        }
        all.push_back(known.unwrap_or((several, HashSet::new())));
        ReachedBy { all }
    }
}

impl ReachedBy<'_> {
    /// Whether the message is one that the connection has not got; from now on it has.
    pub(super) fn is_new(&mut self, id: ConnectionId) -> bool {
        self.all.back_mut().is_none_or(|(_, reached)| reached.insert(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_new_to_each_message_once() {
        let reached = Reached::default();
        let id = ConnectionId::new(7);
        assert!(reached.by(1).is_new(id));
        assert!(reached.by(2).is_new(id));
        assert!(!reached.by(1).is_new(id));
        for number in 10..10 + REMEMBERED.0 as u64 {
            assert!(reached.by(number).is_new(id));
        }
        assert!(reached.by(1).is_new(id), "it is forgotten: rather twice than not at all");
    }
}
