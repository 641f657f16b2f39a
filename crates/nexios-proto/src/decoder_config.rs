use crate::{Limits, Role, deflate::Incoming};

/// The settings by which the peer's frames are checked: this end's role, its limits, and the negotiated compression.
/// They do not change during the connection.
#[derive(Clone, Copy)]
pub(crate) struct DecoderConfig {
    /// The maximum of the type means unlimited, as for the other limits.
    pub(crate) message_size: usize,
    pub(crate) frame_size: usize,
    pub(crate) fragments: u32,
    pub(crate) role: Role,
    /// The peer's compression, if it was negotiated.
    pub(crate) deflate: Option<Incoming>,
}

impl DecoderConfig {
    pub(crate) fn new(role: Role, limits: Limits, deflate: Option<Incoming>) -> Self {
        Self {
            message_size: limits.message_size.cap(),
            frame_size: limits.frame_size.cap(),
            fragments: u32::try_from(limits.fragments.cap()).unwrap_or(u32::MAX),
            role,
            deflate,
        }
    }

    /// Returns true if a message of one frame is within all limits.
    #[inline]
    pub(crate) fn allow_unfragmented(&self, length: usize) -> bool {
        length <= self.message_size && length <= self.frame_size && self.fragments > 0
    }

    /// Maximum size of a compressed message on the wire, in bytes: incompressible data grows a little, by the headers
    /// of its stored blocks.
    pub(crate) fn compressed_size(&self) -> usize {
        self.message_size.saturating_add(self.message_size / 1024 + 64)
    }
}
