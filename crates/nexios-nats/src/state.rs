//! Whether a connection stands, and why it does not.

use std::sync::OnceLock;

use nexios::backplane::BackplaneError;
use tokio_util::sync::CancellationToken;

/// Whether a connection stands.
#[derive(Default)]
pub(crate) struct State {
    over: CancellationToken,
    ending: OnceLock<Ending>,
}

struct Ending {
    reason: String,
    is_given_up: bool,
}

impl State {
    /// It broke, or is not needed any more.
    pub(crate) fn end(&self, reason: &str) {
        self.end_as(reason, false);
    }

    /// It works, and is of no use: the next one may well end in the same way.
    pub(crate) fn give_up(&self, reason: &str) {
        self.end_as(reason, true);
    }

    /// Only the first ending counts.
    fn end_as(&self, reason: &str, is_given_up: bool) {
        let _ = self.ending.set(Ending { reason: reason.to_owned(), is_given_up });
        self.over.cancel();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.ending.get().is_some_and(|ending| ending.is_given_up)
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) -> &str {
        self.over.cancelled().await;
        self.reason()
    }

    /// What whoever needs it is told once it is over.
    pub(crate) fn lost(&self) -> BackplaneError {
        BackplaneError::unavailable(format!("the connection to NATS broke: {}", self.reason()))
    }

    fn reason(&self) -> &str {
        self.ending.get().map_or("closed", |ending| ending.reason.as_str())
    }
}
