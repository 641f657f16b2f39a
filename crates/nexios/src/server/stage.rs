//! How far an HTTP/1.1 connection is with a request: told by the service above hyper, asked by the socket below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::behind::BodyLength;

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
pub(super) struct StageCell(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    stage: AtomicU8,
    /// The request that is served asks for another protocol.
    is_upgrade: AtomicBool,
    /// Its head began behind another request.
    is_behind: AtomicBool,
    /// The length of its body, or one of the two below.
    body: AtomicU64,
}

const CHUNKED: u64 = u64::MAX;
const UNCLEAR: u64 = u64::MAX - 1;

/// An answer on its way; once it is dropped the connection is idle.
#[derive(Debug)]
pub(super) struct Serving(Option<StageCell>);

impl StageCell {
    pub(super) fn get(&self) -> Stage {
        match self.0.stage.load(Ordering::Relaxed) {
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
        self.0.stage.store(number, Ordering::Relaxed);
    }

    /// A head is complete.
    pub(super) fn serving(&self, is_upgrade: bool, body: BodyLength) -> Serving {
        // It was read together with the one before, so that it is not known where its body begins.
        let is_pipelined = self.get() == Stage::Idle || self.0.is_behind.load(Ordering::Relaxed);
        let body = match body {
            BodyLength::Known(length) if length == 0 || !is_pipelined => length,
            BodyLength::Chunked => CHUNKED,
            _ => UNCLEAR,
        };
        self.0.body.store(body, Ordering::Relaxed);
        self.set(Stage::Serving);
        self.0.is_upgrade.store(is_upgrade, Ordering::Relaxed);
        Serving(Some(self.clone()))
    }

    /// The next head begins, behind another request or by itself.
    pub(super) fn has_begun_behind(&self, another: bool) {
        self.0.is_behind.store(another, Ordering::Relaxed);
    }

    /// The length of the body of the last request.
    pub(super) fn body(&self) -> BodyLength {
        match self.0.body.load(Ordering::Relaxed) {
            CHUNKED => BodyLength::Chunked,
            UNCLEAR => BodyLength::Unclear,
            length => BodyLength::Known(length),
        }
    }

    /// Whether a request for another protocol is served, after which no other request comes whatever the answer.
    pub(super) fn is_upgrading(&self) -> bool {
        self.get() == Stage::Serving && self.0.is_upgrade.load(Ordering::Relaxed)
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
