//! A message for many connections.

use bytes::Bytes;
use nexios_proto::{Message, encode};

use super::deflate::Coding;

/// A message that was encoded once, and compressed once for each coding that its receivers have agreed on.
#[derive(Debug)]
pub(crate) struct Publication {
    len: usize,
    plain: Bytes,
    compressed: Vec<(Coding, Option<Bytes>)>,
}

impl Publication {
    pub(crate) fn new(message: &Message, codings: impl IntoIterator<Item = Coding>) -> Self {
        let compressed = codings.into_iter().map(|coding| (coding, compress(message, coding))).collect();
        let plain = frame(message.len(), |out| encode::message(message, None, out));
        Self { len: message.len(), plain, compressed }
    }

    /// The bytes of the message itself.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// `None` when it is not worth it, or the coding has come up since.
    pub(super) fn compressed(&self, coding: Coding) -> Option<&Bytes> {
        self.compressed.iter().find(|(of, _)| *of == coding)?.1.as_ref()
    }
}

fn compress(message: &Message, coding: Coding) -> Option<Bytes> {
    let payload = coding.compress(message)?;
    Some(frame(payload.len(), |out| encode::compressed(message.is_text(), &payload, None, out)))
}

fn frame(payload: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    /// The longest header of a frame that is not masked (RFC 6455 §5.2).
    const HEADER: usize = 10;
    let mut out = Vec::with_capacity(HEADER + payload);
    encode(&mut out);
    out.into()
}
