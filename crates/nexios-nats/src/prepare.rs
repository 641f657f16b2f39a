//! What must be known before a batch is sent: its streams, and which messages they have already.
//!
//! All of it is bounded in time: a stream whose servers do not answer must not keep the rest of the batch waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, Outgoing};
use tokio::time::{Instant, timeout_at};

use crate::doubles::Attempts;
use crate::history;
use crate::link::Link;
use crate::names::StreamName;
use crate::settings::Settings;
use crate::streams::Known;

/// How long it may take. What was found out until then is used, and the node asks for the rest again.
const PREPARING: Duration = Duration::from_millis(800);

/// How many channels are looked through at the same time.
const CHANNELS: usize = 4;

/// A stream that messages can be sent to.
pub(crate) struct Ready {
    pub(crate) name: StreamName,
    pub(crate) stream: Arc<Known>,
}

/// The streams of a batch, or why they cannot be used now.
pub(crate) async fn prepare(
    link: &Link,
    settings: &Settings,
    attempts: &Attempts,
    batch: &[Outgoing],
) -> HashMap<Keep, Result<Ready, BackplaneError>> {
    let mut messages: HashMap<Keep, Vec<&Outgoing>> = HashMap::new();
    for message in batch {
        if let Some(keep) = message.keep {
            messages.entry(keep).or_default().push(message);
        }
    }
    let until = Instant::now() + PREPARING;
    let ready = messages.into_iter().map(|(keep, messages)| async move {
        let name = StreamName::new(&settings.prefix, keep);
        (keep, Preparing { link, settings, attempts, name, keep }.ready(&messages, until).await)
    });
    join_all(ready).await.into_iter().collect()
}

struct Preparing<'a> {
    link: &'a Link,
    settings: &'a Settings,
    attempts: &'a Attempts,
    name: StreamName,
    keep: Keep,
}

impl Preparing<'_> {
    async fn ready(self, messages: &[&Outgoing], until: Instant) -> Result<Ready, BackplaneError> {
        // That nobody has it is told only where nobody else listens to everything. So whatever was not answered may have
        // gone to a stream that is gone.
        if messages.iter().any(|message| self.attempts.has(message.id)) {
            self.link.streams.forget(&self.name, None);
        }
        let known = self.link.streams.known(self.link, self.settings, &self.name, self.keep);
        let stream = timeout_at(until, known).await.map_err(|_| {
            BackplaneError::unavailable(format!("JetStream does not tell about the stream {}", self.name.text()))
        })??;
        if timeout_at(until, self.look_through(&stream, messages)).await.is_err() {
            tracing::debug!(stream = self.name.text(), "messages are still looked for");
        }
        Ok(Ready { name: self.name, stream })
    }

    /// Finds out which of the messages that JetStream may have forgotten were kept. Each channel is read once.
    async fn look_through(&self, known: &Known, messages: &[&Outgoing]) {
        let mut channels: HashMap<&str, (u64, Vec<&Outgoing>)> = HashMap::new();
        for message in messages {
            if let Some(behind) = self.attempts.old(message.id) {
                let offset = if behind.epoch() == known.epoch { behind.offset() } else { 0 };
                let channel = channels.entry(message.channel.as_str()).or_insert((offset, Vec::new()));
                channel.0 = channel.0.min(offset);
                channel.1.push(message);
            }
        }
        let mut looking = Vec::with_capacity(channels.len());
        for (channel, (behind, messages)) in channels {
            looking.push(async move {
                if let Err(error) = self.look_through_channel(known, channel, behind, &messages).await {
                    tracing::debug!(%error, channel, "messages cannot be looked for");
                }
            });
        }
        stream::iter(looking).buffer_unordered(CHANNELS).collect::<()>().await;
    }

    async fn look_through_channel(
        &self,
        stream: &Known,
        channel: &str,
        behind: u64,
        messages: &[&Outgoing],
    ) -> Result<(), BackplaneError> {
        let subject = self.name.subject(stream.epoch, channel);
        let ids = history::ids(self.link, &self.name, stream, &subject, behind).await?;
        let up_to = Position::new(stream.epoch, ids.values().copied().max().unwrap_or(behind));
        for message in messages {
            match ids.get(&crate::publish::text(message.id)) {
                Some(offset) => self.attempts.found(message.id, Position::new(stream.epoch, *offset)),
                None => self.attempts.not_found(message.id, up_to),
            }
        }
        Ok(())
    }
}
