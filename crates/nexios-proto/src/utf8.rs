//! Checking text that arrives in pieces (RFC 6455 §8.1).

use crate::ProtocolError;

/// How much of an unfinished text has been checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Progress {
    /// Bytes at the end of the text that begin a character but do not finish it: at most three.
    open: u8,
}

impl Utf8Progress {
    /// Checks `text`, of which everything before `from` was here already.
    ///
    /// Fails with the first byte after which no continuation makes the text valid.
    pub(crate) fn advance(&mut self, text: &[u8], from: usize) -> Result<(), ProtocolError> {
        let unchecked = &text[from - usize::from(self.open)..];
        self.open = match simdutf8::compat::from_utf8(unchecked) {
            Ok(_) => 0,
            Err(error) => match (error.error_len(), unchecked.len() - error.valid_up_to()) {
                (None, open @ 1..=3) => open as u8,
                _ => return Err(ProtocolError::InvalidUtf8),
            },
        };
        Ok(())
    }

    /// Whether the text may end here.
    pub(crate) fn is_whole(self) -> bool {
        self.open == 0
    }
}
