//! In place of the meters, without the feature `metrics`: nothing is kept, and nothing is done.
#![allow(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "each has the shape of what it stands for")]

use std::sync::Arc;

use http::StatusCode;

use crate::Error;
use crate::disconnect::{Cause, WebSocketDisconnect};
use crate::routing::AppContext;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter(());

#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked;

impl Meter {
    pub(crate) fn of_route(_route: &str, _is_metered: bool) -> Self {
        Self(())
    }

    pub(crate) fn handshake(self) -> Handshake {
        Handshake
    }

    #[inline]
    pub(crate) fn end_poll(self) {}

    #[inline]
    pub(crate) fn sent(self) {}

    #[inline]
    pub(crate) fn dropped(self, _messages: u64) {}

    pub(crate) fn handler_failed(self, _cause: Cause, _error: &Error) {}

    pub(crate) fn ended(self, _watch: &Watch, _end: &WebSocketDisconnect) {}
}

impl Handshake {
    pub(crate) fn answered(self, _status: StatusCode) {}
}

impl Watch {
    pub(crate) fn new(_meter: Meter) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn asked(&self, _meter: Meter) -> Asked {
        Asked
    }

    #[inline]
    pub(crate) fn took(&self, _meter: Meter, _asked: Asked) {}
}

impl Asked {
    #[inline]
    pub(crate) fn waits(self) {}
}

impl Tally {
    #[inline]
    pub(crate) fn received() {}

    #[inline]
    pub(crate) fn sent() {}

    #[inline]
    pub(crate) fn read(_bytes: usize) {}

    #[inline]
    pub(crate) fn written(_bytes: usize) {}

    pub(crate) fn take() -> Self {
        Self
    }

    pub(crate) fn restore(self) {}
}

impl Sent {
    #[inline]
    pub(crate) fn add(&mut self, _meter: Meter, _messages: u32) {}
}

pub(crate) fn accept_failed() {}

pub(crate) fn connection_refused(_why: &'static str) {}

pub(crate) fn observe_app(_app: &Arc<AppContext>) {}
