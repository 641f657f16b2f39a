//! A batch on its way to the server.

use async_nats::{HeaderMap, StatusCode};
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, MessageId, Outgoing, Place, Prefix};

use crate::api::{self, Ack};
use crate::doubles::Attempts;
use crate::link::Link;
use crate::names::{self, StreamName};
use crate::questions::Answer;
use crate::settings::Settings;
use crate::streams;

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
    let mut sent = Vec::with_capacity(batch.len());
    for message in batch {
        // One after the other: the client's queue keeps this order.
        sent.push(send(link, settings, attempts, message).await.unwrap_or_else(|error| Sent::Done(Err(error))));
    }
    let echo = if sent.iter().any(|sent| matches!(sent, Sent::Plain)) { link.echo().await } else { Ok(()) };
    let mut outcomes = Vec::with_capacity(batch.len());
    for (sent, message) in sent.into_iter().zip(batch) {
        let outcome = match sent {
            Sent::Done(outcome) => outcome,
            Sent::Kept(sent) => kept(link, sent).await.map(Some),
            Sent::Plain => match &echo {
                Ok(()) => Ok(None),
                Err(error) => Err(BackplaneError::unavailable(error.to_string())),
            },
        };
        if message.keep.is_some() && !matches!(outcome, Err(BackplaneError::Unavailable(_))) {
            attempts.settled(message.id);
        }
        outcomes.push(outcome);
    }
    outcomes
}

async fn send(
    link: &Link,
    settings: &Settings,
    attempts: &Attempts,
    message: &Outgoing,
) -> Result<Sent, BackplaneError> {
    match message.keep {
        Some(keep) => send_kept(link, settings, attempts, message, keep).await,
        None => send_plain(link, &settings.prefix, message).await,
    }
}

async fn send_plain(link: &Link, prefix: &Prefix, message: &Outgoing) -> Result<Sent, BackplaneError> {
    fits(link, 0, message)?;
    link.publish(names::live(prefix, &message.channel), message.payload.clone()).await?;
    Ok(Sent::Plain)
}

async fn send_kept(
    link: &Link,
    settings: &Settings,
    attempts: &Attempts,
    message: &Outgoing,
    keep: Keep,
) -> Result<Sent, BackplaneError> {
    let id = text(message.id);
    fits(link, "NATS/1.0\r\nNats-Msg-Id: \r\n\r\n".len() + id.len(), message)?;
    let stream = StreamName::new(&settings.prefix, keep);
    let epoch = link.streams.epoch(link, settings, &stream, keep).await?;
    let subject = stream.subject(epoch, message.channel.as_str());
    if attempts.begin(message.id).is_old()
        && let Some(offset) = crate::history::find(link, &stream, &subject, &id).await?
    {
        return Ok(Sent::Done(Ok(Some(place(epoch, offset)))));
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    let behind = link.seen.highest(epoch);
    let answer = link.ask(subject, headers, message.payload.clone()).await?;
    Ok(Sent::Kept(Kept { stream, epoch, behind, answer }))
}

/// The server closes the connection of whoever sends it more than it takes.
fn fits(link: &Link, headers: usize, message: &Outgoing) -> Result<(), BackplaneError> {
    let (size, limit) = (message.payload.len() + headers, link.max_payload());
    if size <= limit {
        return Ok(());
    }
    Err(BackplaneError::refused(format!("{size} bytes are more than the NATS server's max_payload, {limit}")))
}

async fn kept(link: &Link, sent: Kept) -> Result<Place, BackplaneError> {
    let Kept { stream, epoch, behind, answer } = sent;
    let answer = answer.wait().await?;
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        link.streams.forget(&stream).await;
        return Err(BackplaneError::unavailable(format!("no NATS server has the stream {}", stream.text())));
    }
    match verdict(&answer.payload, behind)? {
        Verdict::Kept(offset) => {
            let place = place(epoch, offset);
            link.seen.note(place.position);
            Ok(place)
        }
        Verdict::EndLost => {
            streams::end(link, &stream, epoch).await?;
            link.streams.forget(&stream).await;
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
fn place(epoch: u64, offset: u64) -> Place {
    Place { position: Position::new(epoch, offset), previous: Place::UNKNOWN }
}

fn text(id: MessageId) -> String {
    format!("{}-{}", id.node, id.number)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexios::backplane::{Channel, NodeId};
    use nexios_engines::Engine;

    use super::*;
    use crate::history::find;
    use crate::seen::Seen;

    fn check(ack: &str, behind: u64, expected: Option<Verdict>) {
        assert_eq!(verdict(ack.as_bytes(), behind).ok(), expected, "{ack} behind {behind}");
    }

    #[test]
    fn an_acknowledgement_is_a_place_only_when_the_message_is_kept() {
        check(r#"{"stream":"s","seq":7}"#, 6, Some(Verdict::Kept(7)));
        check(r#"{"stream":"s","seq":7,"duplicate":true}"#, 9, Some(Verdict::Kept(7)));
        check(r#"{"stream":"s","seq":7}"#, 7, Some(Verdict::EndLost));
        check(r#"{"stream":"s","seq":0,"duplicate":true}"#, 0, None);
        check(r#"{"stream":"s","seq":0,"duplicate":true}"#, 9, None);
        check(r#"{"error":{"code":503,"description":"insufficient resources"}}"#, 0, None);
        check("nonsense", 0, None);
        let not_yet = verdict(br#"{"stream":"s","seq":0,"duplicate":true}"#, 0).expect_err("no place");
        assert!(matches!(not_yet, BackplaneError::Unavailable(_)), "it is tried again: {not_yet}");
    }

    #[tokio::test]
    async fn a_message_that_the_server_has_forgotten_is_found_by_its_id() {
        let engine = Engine::nats();
        let settings = Settings::of(&engine.url());
        let link = Link::open(&settings.servers[0], &settings, Seen::default()).await.expect("a connection");
        let keep = Keep { messages: 100, bytes: 1000, age: Duration::from_mins(1) };
        let batch: Vec<_> = (1..=40)
            .map(|number| {
                let id = MessageId { node: NodeId::new(7), number };
                Outgoing::new(Channel::group(&(number % 2).to_string()), id, "text".into()).kept(keep)
            })
            .collect();
        let outcomes = publish(&link, &settings, &Attempts::default(), &batch).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let stream = StreamName::new(&settings.prefix, keep);
        let epoch = link.streams.epoch(&link, &settings, &stream, keep).await.expect("the stream");
        let subject = stream.subject(epoch, "g-1");
        for (number, expected) in [(1, Some(1)), (17, Some(17)), (39, Some(39)), (2, None), (41, None)] {
            let id = text(MessageId { node: NodeId::new(7), number });
            assert_eq!(find(&link, &stream, &subject, &id).await.expect("an answer"), expected, "{id}");
        }
    }
}
