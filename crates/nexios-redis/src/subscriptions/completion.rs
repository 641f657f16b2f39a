//! Whether all who had a part in something have done it.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Waits for all [`Part`]s.
pub(crate) struct Answer(UnboundedReceiver<String>);

/// One part of what is to be done. One that is dropped was not done.
pub(crate) struct Part(Option<UnboundedSender<String>>);

impl Answer {
    pub(crate) fn new() -> (Self, Part) {
        let (sender, receiver) = unbounded_channel();
        (Self(receiver), Part(Some(sender)))
    }

    /// Everything is done, or the first reason why not.
    pub(crate) async fn wait(mut self) -> Result<(), String> {
        match self.0.recv().await {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

impl Part {
    /// Another part of the same.
    pub(crate) fn another(&self) -> Self {
        Self(self.0.clone())
    }

    /// This part is done.
    pub(crate) fn done(mut self) {
        self.0 = None;
    }

    /// This part will not be done.
    pub(crate) fn fail(mut self, reason: &str) {
        if let Some(sender) = self.0.take() {
            // Whoever asked may have gone.
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
