//! Validation of text that arrives in parts (RFC 6455 §8.1).

use crate::ProtocolError;

/// The progress of the validation of an unfinished text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Progress {
    /// Number of bytes at the end of the text that begin a character and do not finish it: at most three.
    open: u8,
}

impl Utf8Progress {
    /// Checks `text`, whose bytes before `from` were checked before.
    ///
    /// Fails with the first byte after which no continuation makes the text valid.
    pub(crate) fn advance(&mut self, text: &[u8], from: usize) -> Result<(), ProtocolError> {
        let unchecked = &text[from - usize::from(self.open)..];
        self.open = match simdutf8::compat::from_utf8(unchecked) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_none() => {
                u8::try_from(unchecked.len() - error.valid_up_to()).map_err(|_| ProtocolError::InvalidUtf8)?
            }
            Err(_) => return Err(ProtocolError::InvalidUtf8),
        };
        Ok(())
    }

    /// Returns true if the text may end here.
    pub(crate) fn is_complete(self) -> bool {
        self.open == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a text that arrives in two parts.
    fn check(text: &[u8], cut: usize) -> Result<bool, ProtocolError> {
        let mut progress = Utf8Progress::default();
        progress.advance(&text[..cut], 0)?;
        progress.advance(text, cut)?;
        Ok(progress.is_complete())
    }

    #[test]
    fn a_character_may_be_cut_anywhere() {
        let text = "aé€😀".as_bytes();
        for cut in 0..=text.len() {
            assert_eq!(check(text, cut), Ok(true), "cut at {cut}");
        }
    }

    #[test]
    fn an_open_character_is_no_end() {
        for text in ["é", "€", "😀"] {
            for end in 1..text.len() {
                assert_eq!(check(&text.as_bytes()[..end], 0), Ok(false));
                assert_eq!(check(&text.as_bytes()[..end], end), Ok(false));
            }
        }
    }

    #[test]
    fn a_broken_continuation_is_found_in_the_next_piece() {
        for cut in 0..3 {
            assert_eq!(check(b"\xe2\x82a", cut), Err(ProtocolError::InvalidUtf8), "cut at {cut}");
        }
    }
}
