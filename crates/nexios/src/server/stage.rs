//! How far an HTTP/1.1 connection is with a request: told by the service above hyper, asked by the socket below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The rest of a request's head, or for the first request all of it.
    Head,
    /// The application: its answer is being made, or sent. Or another protocol, after an upgrade.
    Serving,
    /// The next request's first byte.
    Idle,
}

/// The stage of one connection. Both sides are in one task, so that any order of memory does.
#[derive(Clone, Debug, Default)]
pub(super) struct StageCell(Arc<AtomicU8>);

/// An answer on its way; once it is dropped the connection is idle.
#[derive(Debug)]
pub(super) struct Serving(Option<StageCell>);

impl StageCell {
    pub(super) fn get(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            0 => Stage::Head,
            1 => Stage::Serving,
            _ => Stage::Idle,
        }
    }

    pub(super) fn set(&self, stage: Stage) {
        let number = match stage {
            Stage::Head => 0,
            Stage::Serving => 1,
            Stage::Idle => 2,
        };
        self.0.store(number, Ordering::Relaxed);
    }

    /// A head is complete.
    pub(super) fn serving(&self) -> Serving {
        self.set(Stage::Serving);
        Serving(Some(self.clone()))
    }
}

impl Serving {
    /// After this answer no other request comes.
    pub(super) fn is_last(&mut self) {
        self.0 = None;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(stage) = &self.0 {
            stage.set(Stage::Idle);
        }
    }
}
