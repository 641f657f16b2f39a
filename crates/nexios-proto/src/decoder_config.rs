use crate::{Limits, Role, deflate::Incoming};

/// What the peer's frames are measured by: this end's role, its limits as plain numbers, and what was negotiated. It stays
/// as it is for the connection's life.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// The greatest number of a limit's type is no limit.
    pub(crate) message_size: usize,
    pub(crate) frame_size: usize,
    pub(crate) fragments: u32,
    pub(crate) role: Role,
    /// How the peer compresses, if it may.
    pub(crate) deflate: Option<Incoming>,
}

impl Rules {
    pub(crate) fn new(role: Role, limits: Limits, deflate: Option<Incoming>) -> Self {
        Self {
            message_size: limits.message_size.cap(),
            frame_size: limits.frame_size.cap(),
            fragments: u32::try_from(limits.fragments.cap()).unwrap_or(u32::MAX),
            role,
            deflate,
        }
    }

    /// Whether a message of one frame is within all limits.
    #[inline]
    pub(crate) fn allow_whole(&self, length: usize) -> bool {
        length <= self.message_size && length <= self.frame_size && self.fragments > 0
    }

    /// The most bytes that a compressed message may take on the wire: data that cannot be compressed grows a little, by
    /// the headers of its stored blocks.
    pub(crate) fn compressed_size(&self) -> usize {
        self.message_size.saturating_add(self.message_size / 1024 + 64)
    }
}
