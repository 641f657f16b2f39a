/// An upper bound, or none.
///
/// Unlimited is a value of its own: zero is a limit like any other, which only empty input meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// At most this many.
    At(usize),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// Returns true if `n` is within the limit.
    ///
    /// ```
    /// use nexios_proto::Limit;
    ///
    /// assert!(Limit::At(10).allows(10));
    /// assert!(!Limit::At(10).allows(11));
    /// assert!(!Limit::At(0).allows(1));
    /// assert!(Limit::Unlimited.allows(usize::MAX));
    /// ```
    pub const fn allows(self, n: usize) -> bool {
        n <= self.cap()
    }

    /// The largest number allowed: no length in memory is greater than `usize::MAX`.
    pub(crate) const fn cap(self) -> usize {
        match self {
            Self::At(cap) => cap,
            Self::Unlimited => usize::MAX,
        }
    }
}

impl From<usize> for Limit {
    fn from(cap: usize) -> Self {
        Self::At(cap)
    }
}

/// Limits on the memory that a peer can make this end hold.
///
/// A frame is checked by the length in its header, before a byte of its payload is accepted.
///
/// ```
/// use nexios_proto::{Limit, Limits};
///
/// let limits = Limits::new().message_size(64 * 1024).fragments(Limit::Unlimited);
/// assert_eq!(limits.message_size, Limit::At(65_536));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub struct Limits {
    /// Bytes in one message, over all its frames. Default: 1 MiB.
    pub message_size: Limit,
    /// Bytes in the payload of one data frame. Default: unlimited, as the message bounds it.
    pub frame_size: Limit,
    /// Frames in one message, empty ones included. Default: 16,384.
    pub fragments: Limit,
}

impl Limits {
    /// The defaults.
    pub const fn new() -> Self {
        Self { message_size: Limit::At(1024 * 1024), frame_size: Limit::Unlimited, fragments: Limit::At(16_384) }
    }

    /// Sets the limit on the bytes of one message.
    pub fn message_size(mut self, limit: impl Into<Limit>) -> Self {
        self.message_size = limit.into();
        self
    }

    /// Sets the limit on the bytes of one data frame.
    pub fn frame_size(mut self, limit: impl Into<Limit>) -> Self {
        self.frame_size = limit.into();
        self
    }

    /// Sets the limit on the frames of one message.
    pub fn fragments(mut self, limit: impl Into<Limit>) -> Self {
        self.fragments = limit.into();
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
