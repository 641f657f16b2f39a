//! Replaces the codec when the feature `deflate` is off: its types have no values, as nothing is compressed.

use alloc::vec::Vec;

use crate::ProtocolError;

/// The settings of the peer's compression: none.
#[derive(Clone, Copy)]
pub(crate) enum Incoming {}

/// An unfinished compressed message: none.
pub(crate) enum Compressed {}

/// The state of the peer's compression between messages.
#[derive(Default)]
pub(crate) struct Context(());

impl Incoming {
    pub(crate) fn begin(self) -> Compressed {
        match self {}
    }
}

impl Context {
    #[expect(clippy::unused_self, reason = "as in the codec")]
    pub(crate) fn size(&self) -> usize {
        0
    }
}

impl Compressed {
    pub(crate) fn arrived(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn size(&self) -> usize {
        match *self {}
    }

    pub(crate) fn append_limit(&self, _collected: usize) -> usize {
        match *self {}
    }

    pub(crate) fn inflate(
        &mut self,
        _collected: &[u8],
        _last: bool,
        _message_size: usize,
        _context: &mut Context,
    ) -> Result<(), ProtocolError> {
        match *self {}
    }

    pub(crate) fn output(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn into_output(self) -> Vec<u8> {
        match self {}
    }
}
