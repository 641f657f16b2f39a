//! A message for many connections.

use bytes::Bytes;
use nexios_proto::{Message, encode};

use super::deflate::{Coding, keep_scratch};

/// Messages that were encoded once, and compressed once for each coding that their receivers have agreed on.
#[derive(Debug)]
pub(crate) struct Publication {
    plain: Bytes,
    /// `None` when compressing is not worth it.
    compressed: Vec<(Coding, Option<Bytes>)>,
}

impl Publication {
    pub(crate) fn new(message: &Message, codings: impl IntoIterator<Item = Coding>) -> Self {
        let compressed = codings.into_iter().map(|coding| (coding, compress(message, coding))).collect();
        let plain = frame(message.len(), |out| encode::message(message, None, out));
        Self { plain, compressed }
    }

    /// One publication of several, in their order.
    pub(crate) fn merged<'a>(publications: &(impl Iterator<Item = &'a Self> + Clone)) -> Self {
        let codings = Coding::distinct(publications.clone().flat_map(|one| &one.compressed).map(|(coding, _)| *coding));
        let merged = |coding| {
            let is_worth_it = publications.clone().any(|one| one.compressed(coding).is_some());
            is_worth_it.then(|| concat(publications.clone().map(|one| one.compressed(coding).unwrap_or(&one.plain))))
        };
        let compressed = codings.into_iter().map(|coding| (coding, merged(coding))).collect();
        Self { plain: concat(publications.clone().map(|one| &one.plain)), compressed }
    }

    /// The bytes of the plain frames.
    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(super) fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// `None` when it is not worth it, or the coding has come up since.
    pub(super) fn compressed(&self, coding: Coding) -> Option<&Bytes> {
        self.compressed.iter().find(|(of, _)| *of == coding)?.1.as_ref()
    }
}

fn concat<'a>(frames: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut all = Vec::with_capacity(frames.clone().map(Bytes::len).sum());
    for frame in frames {
        all.extend_from_slice(frame);
    }
    all.into()
}

fn compress(message: &Message, coding: Coding) -> Option<Bytes> {
    let payload = coding.compress(message)?;
    let frame = frame(payload.len(), |out| encode::compressed(message.is_text(), &payload, None, out));
    keep_scratch(payload);
    Some(frame)
}

fn frame(payload: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    /// The longest header of a frame that is not masked (RFC 6455 §5.2).
    const HEADER: usize = 10;
    let mut out = Vec::with_capacity(HEADER + payload);
    encode(&mut out);
    out.into()
}
