//! Publishes a batch of messages.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, Outgoing, Place};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Connection, PendingReply};
use crate::jetstream::{self, Ack, ApiError, PreparedStream, PublishDedup, Streams, prepare};
use crate::names::{self, StreamName};

/// Timeout of a stream's acknowledgement after the server has received the message. The rest of the batch neither waits
/// for longer nor is retried because of it.
const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// The result of publishing one message.
pub(crate) type Outcome = Result<Option<Place>, BackplaneError>;

/// A message that was sent.
enum Sent {
    Done(Outcome),
    /// Confirmed by the echo behind all of the batch.
    Plain,
    Kept(Unacknowledged),
}

/// A message on its way into a stream.
struct Unacknowledged {
    stream: StreamName,
    epoch: u64,
    /// The end of the stream when it was sent.
    behind: u64,
    reply: PendingReply,
}

/// Publishes a batch: everything is sent before the first reply is awaited.
pub(crate) async fn publish(streams: &Streams, dedup: &PublishDedup, batch: &[Outgoing]) -> Vec<Outcome> {
    dedup.touch(batch);
    let prepared = prepare(streams, dedup, batch).await;
    let batch_sender = BatchSender { streams, dedup, prepared };
    let mut sent = Vec::with_capacity(batch.len());
    for message in batch {
        // One after the other: the client's queue keeps this order.
        sent.push(batch_sender.send(message).await.unwrap_or_else(|error| Sent::Done(Err(error))));
    }
    let is_done = sent.iter().all(|sent| matches!(sent, Sent::Done(_)));
    let echo = if is_done { Ok(()) } else { streams.connection.echo().await };
    let deadline = Instant::now() + ACK_TIMEOUT;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (sent, message) in sent.into_iter().zip(batch) {
        let outcome = match sent {
            Sent::Done(outcome) => outcome,
            Sent::Kept(sent) => acknowledged(streams, sent, deadline).await.map(Some),
            Sent::Plain => echo.clone().map(|()| None),
        };
        if message.keep.is_some() && !matches!(outcome, Err(BackplaneError::Unavailable(_))) {
            dedup.resolved(message.id);
        }
        outcomes.push(outcome);
    }
    outcomes
}

struct BatchSender<'a> {
    streams: &'a Streams,
    dedup: &'a PublishDedup,
    prepared: HashMap<Keep, Result<PreparedStream, BackplaneError>>,
}

impl BatchSender<'_> {
    async fn send(&self, message: &Outgoing) -> Result<Sent, BackplaneError> {
        match message.keep {
            Some(keep) => self.send_kept(message, keep).await,
            None => self.send_plain(message).await,
        }
    }

    async fn send_plain(&self, message: &Outgoing) -> Result<Sent, BackplaneError> {
        let Streams { connection, settings, .. } = self.streams;
        check_size(connection, 0, message)?;
        connection.publish(names::live(&settings.prefix, &message.channel), message.payload.clone()).await?;
        Ok(Sent::Plain)
    }

    async fn send_kept(&self, message: &Outgoing, keep: Keep) -> Result<Sent, BackplaneError> {
        let Streams { connection, high_watermarks, .. } = self.streams;
        let id = names::message_id(message.id);
        check_size(connection, "NATS/1.0\r\nNats-Msg-Id: \r\n\r\n".len() + id.len(), message)?;
        let PreparedStream { name, stream } = match self.prepared.get(&keep) {
            Some(Ok(prepared)) => prepared,
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(BackplaneError::unavailable("its stream was not looked up")),
        };
        if let Some(place) = self.dedup.place(message.id) {
            return Ok(Sent::Done(Ok(Some(published_at(place)))));
        }
        if self.dedup.search_behind(message.id).is_some() {
            return Err(BackplaneError::unavailable("it is not known yet if an earlier attempt was stored"));
        }
        let epoch = stream.epoch;
        let behind = high_watermarks.highest(epoch);
        self.dedup.begin(message.id, Position::new(epoch, behind));
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let subject = name.subject(epoch, message.channel.as_str());
        let reply = connection.request(subject, headers, message.payload.clone()).await?;
        Ok(Sent::Kept(Unacknowledged { stream: name.clone(), epoch, behind, reply }))
    }
}

/// Refuses a message that exceeds the server's limit: the server would close the connection.
fn check_size(connection: &Connection, headers: usize, message: &Outgoing) -> Result<(), BackplaneError> {
    let (size, limit) = (message.payload.len() + headers, connection.max_payload());
    if size <= limit {
        return Ok(());
    }
    Err(BackplaneError::refused(format!("{size} bytes are more than the NATS server's max_payload, {limit}")))
}

async fn acknowledged(streams: &Streams, sent: Unacknowledged, deadline: Instant) -> Result<Place, BackplaneError> {
    let name = sent.stream.clone();
    let late = || BackplaneError::unavailable(format!("the stream {} does not answer", name.text()));
    timeout_at(deadline, acknowledgement(streams, sent)).await.unwrap_or_else(|_| Err(late()))
}

async fn acknowledgement(streams: &Streams, sent: Unacknowledged) -> Result<Place, BackplaneError> {
    let Unacknowledged { stream, epoch, behind, reply } = sent;
    let reply = reply.wait().await?;
    if reply.status == Some(StatusCode::NO_RESPONDERS) {
        streams.invalidate(&stream, Some(epoch));
        return Err(BackplaneError::unavailable(format!("no NATS server has the stream {}", stream.text())));
    }
    match verdict(&reply.payload, behind)? {
        Verdict::Stored(offset) => {
            let position = Position::new(epoch, offset);
            streams.high_watermarks.record(position);
            Ok(published_at(position))
        }
        Verdict::Truncated => {
            streams.delete(&stream, epoch).await?;
            streams.invalidate(&stream, Some(epoch));
            Err(BackplaneError::unavailable(format!("the stream {} has lost its end", stream.text())))
        }
    }
}

/// The meaning of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The message is stored at this offset.
    Stored(u64),
    /// The offset belonged to another message before: the stream has lost its end.
    Truncated,
}

/// Interprets an acknowledgement; `behind` is the end of the stream before the message was sent.
fn verdict(payload: &[u8], behind: u64) -> Result<Verdict, BackplaneError> {
    let ack = jetstream::parse::<Ack>(payload)?.map_err(ApiError::into_error)?;
    match ack {
        // A duplicate of a message that the replicas have not agreed on yet (server 2.10), and may never.
        Ack { seq: 0, .. } => Err(BackplaneError::unavailable("a message with this id is not stored yet")),
        Ack { seq, duplicate: false } if seq <= behind => Ok(Verdict::Truncated),
        Ack { seq, .. } => Ok(Verdict::Stored(seq)),
    }
}

/// The place as the publisher knows it: only subscribers learn the offset of the previous message.
fn published_at(position: Position) -> Place {
    Place { position, previous: Place::UNKNOWN }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexios::backplane::{Channel, MessageId, NodeId};
    use nexios_engines::Engine;
    use tokio::time::timeout;

    use super::*;
    use crate::high_watermark::HighWatermarks;
    use crate::jetstream::ids;
    use crate::settings::Settings;

    const KEEP: Keep = Keep { messages: 300, bytes: 1 << 20, age: Duration::from_mins(1) };

    fn check(ack: &str, behind: u64, expected: Option<&Verdict>) {
        assert_eq!(verdict(ack.as_bytes(), behind).ok().as_ref(), expected, "{ack} behind {behind}");
    }

    #[test]
    fn an_acknowledgement_has_a_place_only_when_the_message_is_stored() {
        check(r#"{"stream":"s","seq":7}"#, 6, Some(&Verdict::Stored(7)));
        check(r#"{"stream":"s","seq":7,"duplicate":true}"#, 9, Some(&Verdict::Stored(7)));
        check(r#"{"stream":"s","seq":7}"#, 7, Some(&Verdict::Truncated));
        check(r#"{"stream":"s","seq":0,"duplicate":true}"#, 0, None);
        check(r#"{"stream":"s","seq":0,"duplicate":true}"#, 9, None);
        check(r#"{"error":{"code":503,"description":"insufficient resources"}}"#, 0, None);
        check("nonsense", 0, None);
        let not_yet = verdict(br#"{"stream":"s","seq":0,"duplicate":true}"#, 0).expect_err("no place");
        assert!(matches!(not_yet, BackplaneError::Unavailable(_)), "it is retried: {not_yet}");
    }

    async fn open(urls: &str) -> Streams {
        let settings = Arc::new(Settings::of(urls));
        let connection = Connection::open(&settings.servers[0], &settings).await.expect("a connection");
        Streams::new(Arc::new(connection), settings, HighWatermarks::default())
    }

    fn message(channel: &str, number: u64) -> Outgoing {
        let id = MessageId { node: NodeId::new(7), number };
        Outgoing::new(Channel::group(channel), id, "text".into()).kept(KEEP)
    }

    fn offsets(outcomes: &[Outcome]) -> Vec<Option<u64>> {
        let offset = |outcome: &Outcome| Some(outcome.as_ref().ok()?.as_ref()?.position.offset());
        outcomes.iter().map(offset).collect()
    }

    /// Retries messages after an outage that is longer than the dedup window, with a node's timeout for each call,
    /// until all have places.
    async fn publish_after_an_outage(streams: &Streams, batch: &[Outgoing], calls: usize) -> Vec<u64> {
        let dedup = PublishDedup::default();
        for message in batch {
            dedup.begin(message.id, Position::new(0, 0));
        }
        dedup.end_window();
        for _ in 0..calls {
            let publishing = publish(streams, &dedup, batch);
            let outcomes = timeout(Duration::from_secs(2), publishing).await.unwrap_or_default();
            let places: Vec<_> = offsets(&outcomes).into_iter().flatten().collect();
            if places.len() == batch.len() {
                return places;
            }
        }
        panic!("not all messages have places after {calls} calls");
    }

    #[tokio::test]
    async fn after_a_long_outage_stored_messages_are_found_and_the_others_are_sent() {
        let engine = Engine::nats();
        let streams = open(&engine.url()).await;
        let batch: Vec<_> = (1..=40).map(|number| message(&(number % 2).to_string(), number)).collect();
        let outcomes = publish(&streams, &PublishDedup::default(), &batch[..38]).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let places = publish_after_an_outage(&streams, &batch, 20).await;
        assert_eq!(places, (1..=40).collect::<Vec<_>>());
        let prepared = prepare(&streams, &PublishDedup::default(), &batch).await.remove(&KEEP).expect("a stream");
        let PreparedStream { name, stream } = prepared.expect("a prepared stream");
        let ids = ids(&streams, &name, &stream, &name.subject(stream.epoch, "g-1"), 0).await.expect("ids");
        assert_eq!(ids.len(), 20, "each is stored once: {ids:?}");
    }

    #[tokio::test]
    async fn a_batch_of_many_messages_of_a_channel_is_published_after_a_long_outage() {
        let engine = Engine::nats();
        let streams = open(&engine.url()).await;
        let batch: Vec<_> = (1..=250).map(|number| message("room", number)).collect();
        let outcomes = publish(&streams, &PublishDedup::default(), &batch[..200]).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let places = publish_after_an_outage(&streams, &batch, 20).await;
        assert_eq!(places, (1..=250).collect::<Vec<_>>());
    }
}
