use crate::Limits;

/// The limits as plain numbers, in less memory; the greatest number of each type is no limit.
#[derive(Clone, Copy)]
pub(crate) struct Caps {
    pub(crate) message_size: usize,
    pub(crate) frame_size: usize,
    pub(crate) fragments: u32,
}

impl Caps {
    /// Whether a message of one frame is within all limits.
    #[inline]
    pub(crate) fn allow_whole(&self, length: usize) -> bool {
        length <= self.message_size && length <= self.frame_size && self.fragments > 0
    }
}

impl From<Limits> for Caps {
    fn from(limits: Limits) -> Self {
        Self {
            message_size: limits.message_size.cap(),
            frame_size: limits.frame_size.cap(),
            fragments: u32::try_from(limits.fragments.cap()).unwrap_or(u32::MAX),
        }
    }
}
