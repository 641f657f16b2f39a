//! Bytes that came behind the request that is being served.

/// Finds out if half of another head has come behind a request.
///
/// Hyper reads ahead, and says nothing of what it has. So the bytes are counted as they pass: what is neither head nor body
/// of the request, and does not end as a head does, with an empty line, is the beginning of another one.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// The last byte that is no carriage return was the end of a line.
    at_line: bool,
    /// The last byte ended an empty line.
    at_end: bool,
    has_head: bool,
    bytes: u64,
}

/// Length of the body of the request that is served, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    Known(u64),
    /// It ends with an empty line, as a head does (RFC 9112 §7.1).
    Chunked,
    /// Another protocol, or a body in the midst of pipelined requests.
    Unclear,
}

impl Behind {
    pub(super) fn received(&mut self, bytes: &[u8]) {
        let head = if self.has_head { 0 } else { self.scan_head(bytes) };
        let behind = &bytes[head..];
        self.bytes += u64::try_from(behind.len()).unwrap_or(0);
        // Only the end matters from here on.
        let skipped = behind.len().saturating_sub(4);
        self.at_line &= skipped == 0;
        behind[skipped..].iter().for_each(|byte| self.step(*byte));
    }

    /// How many of the bytes are the head's.
    fn scan_head(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            self.step(*byte);
            if self.at_end {
                self.has_head = true;
                return at + 1;
            }
        }
        bytes.len()
    }

    fn step(&mut self, byte: u8) {
        self.at_end = byte == b'\n' && self.at_line;
        self.at_line = byte == b'\n' || (byte == b'\r' && self.at_line);
    }

    /// Whether half of a head has come.
    pub(super) fn is_half_head(&self, body: BodyLength) -> bool {
        let is_more = match body {
            BodyLength::Known(length) => self.bytes > length,
            BodyLength::Chunked => true,
            BodyLength::Unclear => false,
        };
        self.has_head && is_more && !self.at_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_head_is_seen_behind_any_request_however_its_bytes_are_split() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let chunks = "5\r\n12345\r\n0\r\n\r\n";
        let half = "GET / HT";
        let cases = [
            (head.to_owned(), BodyLength::Known(0), false),
            (format!("{head}{half}"), BodyLength::Known(0), true),
            (format!("{head}{head}"), BodyLength::Known(0), false),
            (format!("{head}{head}{half}"), BodyLength::Known(0), true),
            (format!("{head}12345"), BodyLength::Known(5), false),
            (format!("{head}12345{half}"), BodyLength::Known(5), true),
            (format!("{head}12"), BodyLength::Known(5), false),
            (format!("{head}{chunks}"), BodyLength::Chunked, false),
            (format!("{head}{chunks}{half}"), BodyLength::Chunked, true),
            (format!("{head}{half}"), BodyLength::Unclear, false),
            ("GET / HTTP/1.1\nHost: a\n\nGET".to_owned(), BodyLength::Known(0), true),
        ];
        for (text, body, expected) in cases {
            for size in 1..=text.len() {
                let mut behind = Behind::default();
                text.as_bytes().chunks(size).for_each(|piece| behind.received(piece));
                assert_eq!(behind.is_half_head(body), expected, "{text:?} {body:?} in pieces of {size}");
            }
        }
    }
}
