//! A message for many connections.

use std::sync::Arc;

use bytes::Bytes;
use nexios_proto::{Message, Utf8Bytes, encode};

use super::backlog::Key;
use super::deflate::{Coding, keep_scratch};

/// Messages that were encoded once, and compressed once for each coding that their receivers have agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    plain: Bytes,
    messages: u32,
    /// How many bytes of `plain` stand before the message's own, or that it holds several.
    header: Option<u8>,
    is_text: bool,
    /// How it goes to those who get texts of groups in envelopes.
    relay: Relay,
    key: Option<Key>,
    /// `None` when compressing is not worth it.
    compressed: Vec<(Coding, Option<Bytes>)>,
}

/// Whose word a publication is, for receivers who are to tell the framework's from others'.
#[derive(Clone, Debug)]
enum Relay {
    /// The framework's, or has an envelope already, or cannot be taken for a text: the same for all.
    Same,
    /// A text of the application's or of its clients.
    Text,
    /// A value of the application's as JSON.
    Json,
    /// One of these, and how it looks in its envelope.
    Both(Arc<Publication>),
}

impl Publication {
    pub(crate) fn new(message: &Message, codings: impl IntoIterator<Item = Coding>) -> Self {
        let compressed = codings.into_iter().map(|coding| (coding, compress(message, coding))).collect();
        let plain = frame(message.len(), |out| encode::message(message, None, out));
        let header = u8::try_from(plain.len() - message.len()).ok();
        Self { plain, messages: 1, header, is_text: message.is_text(), relay: Relay::Same, key: None, compressed }
    }

    /// The newest state of what the key stands for.
    pub(crate) fn keyed(self, key: Option<Key>) -> Self {
        Self { key, ..self }
    }

    /// A message for a group: in an envelope for those who are to tell it from the framework's own words, if it is a text.
    pub(crate) fn relayed(self, is_json: bool) -> Self {
        let relay = match (self.is_text, is_json) {
            (false, _) => Relay::Same,
            (true, false) => Relay::Text,
            (true, true) => Relay::Json,
        };
        Self { relay, ..self }
    }

    /// Whether it needs an envelope that it has not got.
    pub(crate) fn is_unenveloped(&self) -> bool {
        matches!(self.relay, Relay::Text | Relay::Json)
    }

    /// Whether what it says is a value as JSON, rather than a text.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.relay, Relay::Json)
    }

    /// The same with the form that it has in its envelope.
    pub(crate) fn enveloped(self, form: Self) -> Self {
        Self { relay: Relay::Both(Arc::new(form)), ..self }
    }

    /// What a receiver gets, which wants envelopes or not; `None` when there is no envelope yet.
    #[inline]
    pub(crate) fn form_for(&self, is_enveloped: bool) -> Option<&Self> {
        match &self.relay {
            _ if !is_enveloped => Some(self),
            Relay::Same => Some(self),
            Relay::Both(form) => Some(form),
            Relay::Text | Relay::Json => None,
        }
    }

    /// One publication of several, in their order. It has an envelope where each of them has.
    pub(crate) fn merged<'a>(publications: &(impl Iterator<Item = &'a Self> + Clone)) -> Self {
        let codings = Coding::distinct(publications.clone().flat_map(|one| &one.compressed).map(|(coding, _)| *coding));
        let merged = |coding| {
            let is_worth_it = publications.clone().any(|one| one.compressed(coding).is_some());
            is_worth_it.then(|| concat(publications.clone().map(|one| one.compressed(coding).unwrap_or(&one.plain))))
        };
        let compressed = codings.into_iter().map(|coding| (coding, merged(coding))).collect();
        let plain = concat(publications.clone().map(|one| &one.plain));
        let messages = publications.clone().map(|one| one.messages).sum();
        let relay = if publications.clone().any(Self::is_unenveloped) {
            Relay::Text
        } else if publications.clone().any(|one| matches!(one.relay, Relay::Both(_))) {
            let forms = publications.clone().map(|one| one.form_for(true).unwrap_or(one));
            Relay::Both(Arc::new(Self::merged(&forms.collect::<Vec<_>>().into_iter())))
        } else {
            Relay::Same
        };
        Self { plain, messages, header: None, is_text: false, relay, key: None, compressed }
    }

    /// Whether it holds several messages.
    #[inline]
    pub(super) fn is_merged(&self) -> bool {
        self.header.is_none()
    }

    /// How many it holds.
    #[inline]
    pub(super) fn messages(&self) -> u32 {
        self.messages
    }

    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The message, if it is one; its bytes are shared.
    pub(crate) fn message(&self) -> Option<Message> {
        let bytes = self.plain.slice(usize::from(self.header?)..);
        if !self.is_text {
            return Some(Message::Binary(bytes));
        }
        Utf8Bytes::try_from(bytes).ok().map(Message::Text)
    }

    /// What it holds in memory: the frames in all their forms.
    pub(crate) fn size(&self) -> usize {
        let own = self.plain.len()
            + self.compressed.iter().filter_map(|(_, frame)| Some(frame.as_ref()?.len())).sum::<usize>();
        if let Relay::Both(form) = &self.relay { own + form.size() } else { own }
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
