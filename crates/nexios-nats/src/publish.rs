//! A batch on its way to the server.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, MessageId, Outgoing, Place};
use tokio::time::{Instant, timeout_at};

use crate::api::{self, Ack};
use crate::doubles::Attempts;
use crate::link::Link;
use crate::names::{self, StreamName};
use crate::prepare::{Ready, prepare};
use crate::questions::Answer;
use crate::settings::Settings;
use crate::streams;

/// How long a stream may take to keep a message that the server has got. The rest of the batch is not tried again because
/// of it, nor does it wait for longer.
const KEEPING: Duration = Duration::from_secs(1);

/// What became of a message.
pub(crate) type Outcome = Result<Option<Place>, BackplaneError>;

/// What is waited for of a message that was sent.
enum Sent {
    Done(Outcome),
    /// The echo behind all of the batch.
    Plain,
    Kept(Kept),
}

/// A message on its way into a stream.
struct Kept {
    stream: StreamName,
    epoch: u64,
    /// How far the stream had come before.
    behind: u64,
    answer: Answer,
}

/// Publishes a batch: everything is sent before anything is waited for.
pub(crate) async fn publish(link: &Link, settings: &Settings, attempts: &Attempts, batch: &[Outgoing]) -> Vec<Outcome> {
    attempts.touch(batch);
    let streams = prepare(link, settings, attempts, batch).await;
    let sending = Sending { link, settings, attempts, streams };
    let mut sent = Vec::with_capacity(batch.len());
    for message in batch {
        // One after the other: the client's queue keeps this order.
        sent.push(sending.send(message).await.unwrap_or_else(|error| Sent::Done(Err(error))));
    }
    let is_over = sent.iter().all(|sent| matches!(sent, Sent::Done(_)));
    let echo = if is_over { Ok(()) } else { link.echo().await };
    let until = Instant::now() + KEEPING;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (sent, message) in sent.into_iter().zip(batch) {
        let outcome = match sent {
            Sent::Done(outcome) => outcome,
            Sent::Kept(sent) => kept_until(link, sent, until).await.map(Some),
            Sent::Plain => echo.clone().map(|()| None),
        };
        if message.keep.is_some() && !matches!(outcome, Err(BackplaneError::Unavailable(_))) {
            attempts.settled(message.id);
        }
        outcomes.push(outcome);
    }
    outcomes
}

struct Sending<'a> {
    link: &'a Link,
    settings: &'a Settings,
    attempts: &'a Attempts,
    streams: HashMap<Keep, Result<Ready, BackplaneError>>,
}

impl Sending<'_> {
    async fn send(&self, message: &Outgoing) -> Result<Sent, BackplaneError> {
        match message.keep {
            Some(keep) => self.send_kept(message, keep).await,
            None => self.send_plain(message).await,
        }
    }

    async fn send_plain(&self, message: &Outgoing) -> Result<Sent, BackplaneError> {
        fits(self.link, 0, message)?;
        let subject = names::live(&self.settings.prefix, &message.channel);
        self.link.publish(subject, message.payload.clone()).await?;
        Ok(Sent::Plain)
    }

    async fn send_kept(&self, message: &Outgoing, keep: Keep) -> Result<Sent, BackplaneError> {
        let id = text(message.id);
        fits(self.link, "NATS/1.0\r\nNats-Msg-Id: \r\n\r\n".len() + id.len(), message)?;
        let Ready { name, stream } = match self.streams.get(&keep) {
            Some(Ok(ready)) => ready,
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(BackplaneError::unavailable("its stream was not looked for")),
        };
        if let Some(place) = self.attempts.place(message.id) {
            return Ok(Sent::Done(Ok(Some(published_at(place)))));
        }
        if self.attempts.old(message.id).is_some() {
            return Err(BackplaneError::unavailable("it is not known yet whether it was kept before"));
        }
        let epoch = stream.epoch;
        let behind = self.link.seen.highest(epoch);
        self.attempts.begin(message.id, Position::new(epoch, behind));
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let subject = name.subject(epoch, message.channel.as_str());
        let answer = self.link.ask(subject, headers, message.payload.clone()).await?;
        Ok(Sent::Kept(Kept { stream: name.clone(), epoch, behind, answer }))
    }
}

/// The server closes the connection of whoever sends it more than it takes.
fn fits(link: &Link, headers: usize, message: &Outgoing) -> Result<(), BackplaneError> {
    let (size, limit) = (message.payload.len() + headers, link.max_payload());
    if size <= limit {
        return Ok(());
    }
    Err(BackplaneError::refused(format!("{size} bytes are more than the NATS server's max_payload, {limit}")))
}

async fn kept_until(link: &Link, sent: Kept, until: Instant) -> Result<Place, BackplaneError> {
    let name = sent.stream.clone();
    let late = || BackplaneError::unavailable(format!("the stream {} does not answer", name.text()));
    timeout_at(until, kept(link, sent)).await.unwrap_or_else(|_| Err(late()))
}

async fn kept(link: &Link, sent: Kept) -> Result<Place, BackplaneError> {
    let Kept { stream, epoch, behind, answer } = sent;
    let answer = answer.wait().await?;
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        link.streams.forget(&stream, Some(epoch));
        return Err(BackplaneError::unavailable(format!("no NATS server has the stream {}", stream.text())));
    }
    match verdict(&answer.payload, behind)? {
        Verdict::Kept(offset) => {
            let position = Position::new(epoch, offset);
            link.seen.note(position);
            Ok(published_at(position))
        }
        Verdict::EndLost => {
            streams::end(link, &stream, epoch).await?;
            link.streams.forget(&stream, Some(epoch));
            Err(BackplaneError::unavailable(format!("the stream {} has lost its end", stream.text())))
        }
    }
}

/// What an acknowledgement says of a message.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Kept(u64),
    /// Its offset was given before, to another message: whatever was behind that is lost.
    EndLost,
}

/// Reads an acknowledgement; `behind` is how far the stream had come before.
fn verdict(payload: &[u8], behind: u64) -> Result<Verdict, BackplaneError> {
    let ack = api::parse::<Ack>(payload)?.map_err(api::ApiError::into_error)?;
    match ack {
        // A double of a message that the replicas have not agreed on yet (server 2.10), and may never.
        Ack { seq: 0, .. } => Err(BackplaneError::unavailable("a message with this id is not kept yet")),
        Ack { seq, duplicate: false } if seq <= behind => Ok(Verdict::EndLost),
        Ack { seq, .. } => Ok(Verdict::Kept(seq)),
    }
}

/// As the publisher learns it: only subscribers are told which message was the one before.
fn published_at(position: Position) -> Place {
    Place { position, previous: Place::UNKNOWN }
}

/// As JetStream knows it.
pub(crate) fn text(id: MessageId) -> String {
    format!("{}-{}", id.node, id.number)
}

#[cfg(test)]
mod tests {
    use nexios::backplane::{Channel, NodeId};
    use nexios_engines::Engine;
    use tokio::time::timeout;

    use super::*;
    use crate::seen::Seen;

    const KEEP: Keep = Keep { messages: 300, bytes: 1 << 20, age: Duration::from_mins(1) };

    fn check(ack: &str, behind: u64, expected: Option<&Verdict>) {
        assert_eq!(verdict(ack.as_bytes(), behind).ok().as_ref(), expected, "{ack} behind {behind}");
    }

    #[test]
    fn an_acknowledgement_is_a_place_only_when_the_message_is_kept() {
        check(r#"{"stream":"s","seq":7}"#, 6, Some(&Verdict::Kept(7)));
        check(r#"{"stream":"s","seq":7,"duplicate":true}"#, 9, Some(&Verdict::Kept(7)));
        check(r#"{"stream":"s","seq":7}"#, 7, Some(&Verdict::EndLost));
        check(r#"{"stream":"s","seq":0,"duplicate":true}"#, 0, None);
        check(r#"{"stream":"s","seq":0,"duplicate":true}"#, 9, None);
        check(r#"{"error":{"code":503,"description":"insufficient resources"}}"#, 0, None);
        check("nonsense", 0, None);
        let not_yet = verdict(br#"{"stream":"s","seq":0,"duplicate":true}"#, 0).expect_err("no place");
        assert!(matches!(not_yet, BackplaneError::Unavailable(_)), "it is tried again: {not_yet}");
    }

    async fn open(settings: &Settings) -> Link {
        Link::open(&settings.servers[0], settings, Seen::default()).await.expect("a connection")
    }

    fn message(channel: &str, number: u64) -> Outgoing {
        let id = MessageId { node: NodeId::new(7), number };
        Outgoing::new(Channel::group(channel), id, "text".into()).kept(KEEP)
    }

    fn offsets(outcomes: &[Outcome]) -> Vec<Option<u64>> {
        let offset = |outcome: &Outcome| Some(outcome.as_ref().ok()?.as_ref()?.position.offset());
        outcomes.iter().map(offset).collect()
    }

    /// Publishes messages again that were tried before an outage of more than JetStream's memory, in calls as long as a
    /// node's, until all have places.
    async fn publish_after_an_outage(link: &Link, settings: &Settings, batch: &[Outgoing], calls: usize) -> Vec<u64> {
        let attempts = Attempts::default();
        for message in batch {
            attempts.begin(message.id, Position::new(0, 0));
        }
        attempts.become_old();
        for _ in 0..calls {
            let publishing = publish(link, settings, &attempts, batch);
            let outcomes = timeout(Duration::from_secs(2), publishing).await.unwrap_or_default();
            let places: Vec<_> = offsets(&outcomes).into_iter().flatten().collect();
            if places.len() == batch.len() {
                return places;
            }
        }
        panic!("not all messages have places after {calls} calls");
    }

    #[tokio::test]
    async fn messages_that_the_server_has_forgotten_are_found_and_the_others_are_sent() {
        let engine = Engine::nats();
        let settings = Settings::of(&engine.url());
        let link = open(&settings).await;
        let batch: Vec<_> = (1..=40).map(|number| message(&(number % 2).to_string(), number)).collect();
        let outcomes = publish(&link, &settings, &Attempts::default(), &batch[..38]).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let places = publish_after_an_outage(&link, &settings, &batch, 20).await;
        assert_eq!(places, (1..=40).collect::<Vec<_>>());
        let ready = prepare(&link, &settings, &Attempts::default(), &batch).await.remove(&KEEP).expect("a stream");
        let ready = ready.expect("ready");
        let subject = ready.name.subject(ready.stream.epoch, "g-1");
        let ids = crate::history::ids(&link, &ready.name, &ready.stream, &subject, 0).await.expect("ids");
        assert_eq!(ids.len(), 20, "each is kept once: {ids:?}");
    }

    #[tokio::test]
    async fn a_batch_of_many_messages_of_a_channel_is_published_after_a_long_outage() {
        let engine = Engine::nats();
        let settings = Settings::of(&engine.url());
        let link = open(&settings).await;
        let batch: Vec<_> = (1..=250).map(|number| message("room", number)).collect();
        let outcomes = publish(&link, &settings, &Attempts::default(), &batch[..200]).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let places = publish_after_an_outage(&link, &settings, &batch, 20).await;
        assert_eq!(places, (1..=250).collect::<Vec<_>>());
    }
}
