//! Compression of what a connection sends (RFC 7692).
//!
//! A message is compressed before it is queued, by whoever sends it, and never under a lock. With a window that is kept
//! from message to message, the order of compressing must be the order of sending: the compressor is lent to one sender
//! at a time, and whoever finds it lent sends plain, which leaves the window as it is.

use std::cell::RefCell;

use nexios_proto::handshake::deflate::DeflateParams;
use nexios_proto::{Compressor, MaskKey, Message, Role, encode};

use super::link::{Link, State};
use super::outbound::Outbound;
use super::sending::Form;
use crate::compression::Compression;
use crate::memory_budget::CompressorPlace;

/// What a connection has agreed on, seen from this end.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) params: DeflateParams,
    /// `None`: a window that zlib cannot make. This end sends plain.
    coding: Option<Coding>,
    keeps_window: bool,
}

/// All that decides what a message becomes. Connections of the same coding share what was compressed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    threshold: usize,
    level: u8,
    window_bits: u8,
}

/// A connection's own compressor.
#[derive(Debug, Default)]
pub(super) enum Window {
    /// There is none: nothing was sent before that the next message could refer to.
    #[default]
    Fresh,
    Kept(Box<Kept>),
    /// Somebody compresses.
    Lent,
}

#[derive(Debug)]
pub(super) struct Kept {
    compressor: Compressor,
    /// Something was compressed since this was last looked at.
    was_used: bool,
    /// Something was sent that the compressor has not seen: it must begin anew.
    is_stale: bool,
    _place: CompressorPlace,
}

/// A message in the form in which it is sent.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) message: &'a Message,
    /// The payload of the compressed frame, when that is the form.
    compressed: Option<Vec<u8>>,
    /// The connection's own compressor, to be given back.
    lent: Option<Box<Kept>>,
}

impl Agreed {
    pub(super) fn new(role: Role, params: DeflateParams, compression: &Compression) -> Self {
        let (no_takeover, bits) = match role {
            Role::Server => (params.server_no_context_takeover, params.server_max_window_bits),
            Role::Client => (params.client_no_context_takeover, params.client_max_window_bits),
        };
        let window_bits = bits.min(compression.window_bits);
        let Compression { threshold, level, .. } = *compression;
        let coding = (window_bits > 8).then_some(Coding { threshold, level, window_bits });
        Self { params, coding, keeps_window: compression.is_dedicated() && !no_takeover }
    }
}

impl Coding {
    /// Each of them once.
    pub(crate) fn distinct(all: impl Iterator<Item = Self>) -> Vec<Self> {
        all.fold(Vec::new(), |mut found, coding| {
            if !found.contains(&coding) {
                found.push(coding);
            }
            found
        })
    }

    /// Compresses a message by itself: `None` when it is too short, or does not become smaller. The buffer goes back by
    /// [`keep_scratch`].
    pub(super) fn compress(self, message: &Message) -> Option<Vec<u8>> {
        self.compress_with(&mut Compressor::new(self.level, self.window_bits), message)
    }

    fn compress_with(self, compressor: &mut Compressor, message: &Message) -> Option<Vec<u8>> {
        if message.len() < self.threshold {
            return None;
        }
        let mut payload = take_scratch();
        compressor.compress(message.as_bytes(), &mut payload);
        if payload.len() < message.len() {
            return Some(payload);
        }
        keep_scratch(payload);
        None
    }
}

impl Link {
    /// Notes what the handshake agreed on.
    pub(crate) fn agree(&self, params: DeflateParams) {
        let agreed = Agreed::new(self.role(), params, &self.config().compression);
        // Once: there is one handshake.
        let _ = self.agreed.set(Box::new(agreed));
    }

    #[inline]
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        self.agreed.get().map(|agreed| &**agreed)
    }

    /// How this connection compresses messages of this length; `None`: not at all.
    #[inline]
    pub(super) fn coding(&self, len: usize) -> Option<Coding> {
        self.agreed()?.coding.filter(|coding| len >= coding.threshold)
    }

    /// How this connection compresses, whatever the length.
    pub(crate) fn any_coding(&self) -> Option<Coding> {
        self.agreed()?.coding
    }

    /// Compresses a message if that is agreed and worth it. What is prepared must be
    /// [appended](Prepared::append) or [abandoned](Prepared::abandon).
    #[inline]
    pub(super) fn prepare<'a>(&self, message: &'a Message, form: Form) -> Prepared<'a> {
        match self.coding(message.len()) {
            // Nobody compresses for a connection that takes nothing more.
            Some(coding) if form == Form::Any && self.is_open() => self.prepare_compressed(message, coding),
            _ => Prepared { message, compressed: None, lent: None },
        }
    }

    fn prepare_compressed<'a>(&self, message: &'a Message, coding: Coding) -> Prepared<'a> {
        if !self.agreed().is_some_and(|agreed| agreed.keeps_window) {
            return Prepared { message, compressed: coding.compress(message), lent: None };
        }
        let window = std::mem::replace(&mut self.lock().window, Window::Lent);
        let mut kept = match window {
            Window::Lent => return Prepared { message, compressed: None, lent: None },
            Window::Fresh => {
                let Some(place) = self.place_for_compressor() else {
                    // One that all share serves a message as well, if not as small: it refers to nothing before it.
                    self.lock().window = Window::Fresh;
                    return Prepared { message, compressed: coding.compress(message), lent: None };
                };
                Box::new(Kept::new(coding, place))
            }
            Window::Kept(kept) => kept,
        };
        if std::mem::take(&mut kept.is_stale) {
            kept.compressor.reset();
        }
        let compressed = coding.compress_with(&mut kept.compressor, message);
        kept.was_used = true;
        // It has seen what is not sent in this form.
        kept.is_stale = compressed.is_none();
        Prepared { message, compressed, lent: Some(kept) }
    }

    /// Frees the connection's own compressor if nothing was sent with it since the last call.
    pub(super) fn free_idle_window(&self) {
        let mut state = self.lock();
        let is_idle = match &mut state.window {
            Window::Kept(kept) => !std::mem::take(&mut kept.was_used),
            Window::Fresh | Window::Lent => false,
        };
        let freed = if is_idle { std::mem::take(&mut state.window) } else { Window::Fresh };
        drop(state);
        drop(freed);
    }
}

impl Window {
    /// Whether a frame that others share may be sent now, compressed by itself: a window that is kept misses it.
    #[inline]
    pub(super) fn may_miss(&mut self) -> bool {
        match self {
            Self::Fresh => true,
            Self::Kept(kept) => {
                kept.is_stale = true;
                true
            }
            Self::Lent => false,
        }
    }
}

impl Kept {
    fn new(coding: Coding, place: CompressorPlace) -> Self {
        let compressor = Compressor::new(coding.level, coding.window_bits);
        Self { compressor, was_used: false, is_stale: false, _place: place }
    }
}

impl Prepared<'_> {
    /// The bytes of its payload as they are sent.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.compressed.as_ref().map_or(self.message.len(), Vec::len)
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// Whether the order of appending matters to what is compressed next.
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Appends it as a compressed frame; the plain form is the caller's to append.
    pub(super) fn append_compressed(mut self, outbound: &mut Outbound, key: Option<MaskKey>) {
        if let Some(payload) = self.compressed.take() {
            outbound.append_with(|tail| encode::compressed(self.message.is_text(), &payload, key, tail));
            keep_scratch(payload);
        }
    }

    /// Gives a compressor back that has seen what was appended, under the lock under which that was done.
    #[inline]
    pub(super) fn give_back(&mut self, state: &mut State) {
        if let Some(kept) = self.lent.take() {
            state.window = Window::Kept(kept);
        }
    }

    /// It is not sent: a compressor must not refer to it.
    pub(super) fn abandon(mut self, state: &mut State) {
        if let Some(mut kept) = self.lent.take() {
            kept.is_stale = true;
            state.window = Window::Kept(kept);
        }
    }
}

thread_local! {
    // Compressed payloads are copied to where they are sent from: one buffer serves all messages of a thread.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with more capacity than this is given back to the allocator.
const SCRATCH_MAX: usize = 256 * 1024;

fn take_scratch() -> Vec<u8> {
    SCRATCH.take()
}

pub(super) fn keep_scratch(mut buffer: Vec<u8>) {
    if buffer.capacity() <= SCRATCH_MAX {
        buffer.clear();
        SCRATCH.set(buffer);
    }
}
