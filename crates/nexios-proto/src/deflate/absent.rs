//! In place of the codec when the feature `deflate` is off: nothing is compressed, which the types say.

use alloc::vec::Vec;

use crate::{ProtocolError, rules::Rules};

/// How the peer compresses: it does not.
#[derive(Clone, Copy)]
pub(crate) enum Incoming {}

/// A compressed message that is unfinished: there is none.
pub(crate) enum Compressed {}

/// What is kept of the peer's compression between messages.
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

    pub(crate) fn appetite(&self, _collected: usize) -> usize {
        match *self {}
    }

    pub(crate) fn inflate(
        &mut self,
        _collected: &[u8],
        _last: bool,
        _rules: &Rules,
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
