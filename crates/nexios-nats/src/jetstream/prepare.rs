//! Prepares a batch for publishing: looks up its streams, and finds messages that they have already.
//!
//! All of it is bounded in time: a stream whose servers do not answer must not delay the rest of the batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, Outgoing};
use tokio::time::{Instant, timeout_at};

use super::history;
use super::publish_dedup::PublishDedup;
use super::streams::{StreamHandle, Streams};
use crate::names::{self, StreamName};

/// Timeout of the preparation. Results until then are used, and the node retries the remaining messages.
const TIMEOUT: Duration = Duration::from_millis(800);

/// Maximum number of channels that are searched concurrently.
const CHANNELS: usize = 4;

/// A stream that messages can be sent to.
pub(crate) struct PreparedStream {
    pub(crate) name: StreamName,
    pub(crate) stream: Arc<StreamHandle>,
}

/// Looks up the streams of a batch; an error for a stream that cannot be used now.
pub(crate) async fn prepare(
    streams: &Streams,
    dedup: &PublishDedup,
    batch: &[Outgoing],
) -> HashMap<Keep, Result<PreparedStream, BackplaneError>> {
    let mut messages: HashMap<Keep, Vec<&Outgoing>> = HashMap::new();
    for message in batch {
        if let Some(keep) = message.keep {
            messages.entry(keep).or_default().push(message);
        }
    }
    let deadline = Instant::now() + TIMEOUT;
    let prepared = messages.into_iter().map(|(keep, messages)| async move {
        let name = StreamName::new(&streams.settings.prefix, keep);
        (keep, Preparation { streams, dedup, name, keep }.run(&messages, deadline).await)
    });
    join_all(prepared).await.into_iter().collect()
}

struct Preparation<'a> {
    streams: &'a Streams,
    dedup: &'a PublishDedup,
    name: StreamName,
    keep: Keep,
}

impl Preparation<'_> {
    async fn run(self, messages: &[&Outgoing], deadline: Instant) -> Result<PreparedStream, BackplaneError> {
        // "No responders" is reported only where no other client subscribes to everything. So an unanswered message may
        // have gone to a stream that no longer exists.
        if messages.iter().any(|message| self.dedup.was_sent(message.id)) {
            self.streams.invalidate(&self.name, None);
        }
        let stream =
            timeout_at(deadline, self.streams.get_or_create(&self.name, self.keep)).await.map_err(|_| {
                BackplaneError::unavailable(format!("JetStream does not answer about the stream {}", self.name.text()))
            })??;
        if timeout_at(deadline, self.find_duplicates(&stream, messages)).await.is_err() {
            tracing::debug!(stream = self.name.text(), "the search for duplicates is not finished");
        }
        Ok(PreparedStream { name: self.name, stream })
    }

    /// Finds the messages that were stored before and may be outside of JetStream's dedup window. Each channel is read
    /// once.
    async fn find_duplicates(&self, stream: &StreamHandle, messages: &[&Outgoing]) {
        let mut channels: HashMap<&str, (u64, Vec<&Outgoing>)> = HashMap::new();
        for message in messages {
            if let Some(behind) = self.dedup.search_behind(message.id) {
                let offset = if behind.epoch() == stream.epoch { behind.offset() } else { 0 };
                let channel = channels.entry(message.channel.as_str()).or_insert((offset, Vec::new()));
                channel.0 = channel.0.min(offset);
                channel.1.push(message);
            }
        }
        let mut searches = Vec::with_capacity(channels.len());
        for (channel, (behind, messages)) in channels {
            searches.push(async move {
                if let Err(error) = self.search_channel(stream, channel, behind, &messages).await {
                    tracing::debug!(%error, channel, "the search for duplicates has failed");
                }
            });
        }
        stream::iter(searches).buffer_unordered(CHANNELS).collect::<()>().await;
    }

    async fn search_channel(
        &self,
        stream: &StreamHandle,
        channel: &str,
        behind: u64,
        messages: &[&Outgoing],
    ) -> Result<(), BackplaneError> {
        let subject = self.name.subject(stream.epoch, channel);
        let ids = history::ids(self.streams, &self.name, stream, &subject, behind).await?;
        let up_to = Position::new(stream.epoch, ids.values().copied().max().unwrap_or(behind));
        for message in messages {
            match ids.get(&names::message_id(message.id)) {
                Some(offset) => self.dedup.found(message.id, Position::new(stream.epoch, *offset)),
                None => self.dedup.not_found(message.id, up_to),
            }
        }
        Ok(())
    }
}
