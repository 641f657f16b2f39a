//! What can go wrong between nodes.

use crate::error::BoxError;

/// Why a backplane did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackplaneError {
    /// The settings cannot work: a malformed address, a server that lacks what is needed.
    #[error("the backplane's settings: {0}")]
    Settings(#[source] BoxError),
    /// The engine cannot be reached or does not answer. It may have done what it was asked to.
    #[error("the backplane is not available: {0}")]
    Unavailable(#[source] BoxError),
    /// The engine will never take this message: it is too large, or not allowed.
    #[error("the backplane refused the message: {0}")]
    Refused(#[source] BoxError),
    /// The outbox has no room for the message, because the engine is away or slow
    /// ([`BackplaneConfig::outbox`](crate::BackplaneConfig::outbox)). Members on this node got it, others will be told of a gap.
    #[error("the outbox to other nodes is full ({limit} bytes)")]
    OutboxFull {
        /// The limit in bytes.
        limit: usize,
    },
}

impl BackplaneError {
    /// [`Settings`](Self::Settings) from any error or text.
    pub fn settings(error: impl Into<BoxError>) -> Self {
        Self::Settings(error.into())
    }

    /// [`Unavailable`](Self::Unavailable) from any error or text.
    pub fn unavailable(error: impl Into<BoxError>) -> Self {
        Self::Unavailable(error.into())
    }

    /// [`Refused`](Self::Refused) from any error or text.
    pub fn refused(error: impl Into<BoxError>) -> Self {
        Self::Refused(error.into())
    }
}
