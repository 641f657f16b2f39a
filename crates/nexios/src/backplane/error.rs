//! What can go wrong between nodes.

use std::error::Error as StdError;
use std::sync::Arc;

use crate::error::BoxError;

/// What was behind it.
type Source = Arc<dyn StdError + Send + Sync>;

/// Why a backplane did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackplaneError {
    /// The settings cannot work: a malformed address, a server that lacks what is needed.
    #[error("the backplane's settings: {0}")]
    Settings(#[source] Source),
    /// The engine cannot be reached or does not answer. It may have done what it was asked to.
    #[error("the backplane is not available: {0}")]
    Unavailable(#[source] Source),
    /// The engine will never take this message: it is too large, or not allowed.
    #[error("the backplane refused the message: {0}")]
    Refused(#[source] Source),
    /// The outbox has no room for a message to a group with a history, because the engine is slow
    /// ([`BackplaneConfig::outbox`](crate::BackplaneConfig::outbox)): nobody has got it. Other messages are taken all the same,
    /// and so are all while the engine is away: members on other nodes are then told of the gap.
    #[error("the outbox to other nodes is full ({limit} bytes)")]
    OutboxFull {
        /// The limit in bytes.
        limit: usize,
    },
}

impl BackplaneError {
    /// [`Settings`](Self::Settings) from the text of any error: most programs show no more than the `Debug` of what `main`
    /// returns.
    pub fn settings(error: impl Into<BoxError>) -> Self {
        Self::Settings(Arc::from(BoxError::from(error.into().to_string())))
    }

    /// [`Unavailable`](Self::Unavailable) from any error or text.
    pub fn unavailable(error: impl Into<BoxError>) -> Self {
        Self::Unavailable(Arc::from(error.into()))
    }

    /// [`Refused`](Self::Refused) from any error or text.
    pub fn refused(error: impl Into<BoxError>) -> Self {
        Self::Refused(Arc::from(error.into()))
    }
}
