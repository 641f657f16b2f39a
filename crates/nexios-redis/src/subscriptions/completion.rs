//! Completion of a request that several subscribers take part in.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Waits for all [`Part`]s of a request.
pub(crate) struct Completion(UnboundedReceiver<String>);

/// One part of a request. Dropping it fails the request.
pub(crate) struct Part(Option<UnboundedSender<String>>);

impl Completion {
    pub(crate) fn new() -> (Self, Part) {
        let (sender, receiver) = unbounded_channel();
        (Self(receiver), Part(Some(sender)))
    }

    /// Waits until all parts are done; an error is the first failure.
    pub(crate) async fn wait(mut self) -> Result<(), String> {
        match self.0.recv().await {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

impl Part {
    /// Another part of the same request.
    pub(crate) fn another(&self) -> Self {
        Self(self.0.clone())
    }

    /// Marks this part as done.
    pub(crate) fn done(mut self) {
        self.0 = None;
    }

    /// Fails the request.
    pub(crate) fn fail(mut self, reason: &str) {
        if let Some(sender) = self.0.take() {
            // Fails when the caller no longer waits.
            let _ = sender.send(reason.to_owned());
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send("not connected to Redis".to_owned());
        }
    }
}
