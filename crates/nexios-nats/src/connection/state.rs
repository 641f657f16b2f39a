//! The state of a connection: usable, or ended for a reason.

use std::sync::OnceLock;

use nexios::backplane::BackplaneError;
use tokio_util::sync::CancellationToken;

/// Records the end of a connection and wakes the tasks that use it.
#[derive(Default)]
pub(crate) struct ConnectionState {
    ended: CancellationToken,
    ending: OnceLock<Ending>,
}

struct Ending {
    reason: String,
    needs_backoff: bool,
}

impl ConnectionState {
    /// Ends a connection that broke or is no longer needed.
    pub(crate) fn end(&self, reason: &str) {
        self.end_once(reason, false);
    }

    /// Ends a connection that works but is of no use: the next one may well end in the same way, so it is delayed.
    pub(crate) fn end_with_backoff(&self, reason: &str) {
        self.end_once(reason, true);
    }

    /// Only the first ending counts.
    fn end_once(&self, reason: &str, needs_backoff: bool) {
        let _ = self.ending.set(Ending { reason: reason.to_owned(), needs_backoff });
        self.ended.cancel();
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(crate) fn needs_backoff(&self) -> bool {
        self.ending.get().is_some_and(|ending| ending.needs_backoff)
    }

    /// Waits for the end and returns its reason.
    pub(crate) async fn ended(&self) -> &str {
        self.ended.cancelled().await;
        self.reason()
    }

    /// The error of operations that need the connection after its end.
    pub(crate) fn lost(&self) -> BackplaneError {
        BackplaneError::unavailable(format!("the connection to NATS broke: {}", self.reason()))
    }

    fn reason(&self) -> &str {
        self.ending.get().map_or("closed", |ending| ending.reason.as_str())
    }
}
