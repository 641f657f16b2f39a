//! Delivery of the messages of one subscription to the node.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use nexios::Position;
use nexios::backplane::{Channel, Events, Place};
use tokio::time::{Instant, sleep_until};

use crate::connection::ConnectionState;
use crate::high_watermark::HighWatermarks;
use crate::names;
use crate::reorder::{MAX_WAIT, ReorderBuffer};

/// Delivers the messages of a channel to the node until the connection ends.
pub(crate) async fn deliver(
    mut messages: Subscriber,
    channel: Channel,
    connection: Arc<ConnectionState>,
    events: Events,
    high_watermarks: HighWatermarks,
) {
    let mut watermark = high_watermarks.recorder();
    let mut buffer = ReorderBuffer::new(MAX_WAIT);
    let pass_on = |payload, place| events.message(channel.as_str(), payload, place);
    loop {
        let input = next_input(&mut messages, buffer.deadline()).await;
        if connection.is_ended() {
            return;
        }
        match input {
            Input::Message(Message { payload, headers, .. }) => match headers.as_ref().and_then(place) {
                None => pass_on(payload, None),
                Some(place) => {
                    watermark.record(place.position);
                    if let Some((payload, place)) = buffer.add(payload, place) {
                        pass_on(payload, Some(place));
                    }
                }
            },
            Input::Deadline => {}
            Input::End => return,
        }
        while let Some((payload, place)) = buffer.next() {
            pass_on(payload, Some(place));
        }
    }
}

enum Input {
    Message(Message),
    /// The buffered messages have waited for long enough.
    Deadline,
    End,
}

async fn next_input(messages: &mut Subscriber, deadline: Option<Instant>) -> Input {
    let deadline = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // The deadline first: it would never be noticed while messages are ready.
        biased;
        () = deadline => Input::Deadline,
        message = messages.next() => message.map_or(Input::End, Input::Message),
    }
}

/// The place of a message that a stream has stored and republished (`RePublish` of the stream, server 2.9): its
/// sequence, and that of its predecessor with the same subject.
fn place(headers: &HeaderMap) -> Option<Place> {
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    let epoch = names::epoch_of(text("Nats-Subject")?)?;
    let offset = text("Nats-Sequence")?.parse().ok()?;
    let previous = text("Nats-Last-Sequence")?.parse().ok()?;
    Some(Place { position: Position::new(epoch, offset), previous })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, *value);
        }
        headers
    }

    #[test]
    fn a_republished_message_has_its_place() {
        let subject = ("Nats-Subject", "nexios.h1-1.00000000000000ff.g-a");
        let kept = headers(&[subject, ("Nats-Sequence", "9"), ("Nats-Last-Sequence", "4")]);
        assert_eq!(place(&kept), Some(Place { position: Position::new(0xff, 9), previous: 4 }));
        for other in [
            headers(&[]),
            headers(&[subject, ("Nats-Sequence", "9")]),
            headers(&[subject, ("Nats-Sequence", "-1"), ("Nats-Last-Sequence", "4")]),
            headers(&[("Nats-Subject", "a.b"), ("Nats-Sequence", "9"), ("Nats-Last-Sequence", "4")]),
        ] {
            assert_eq!(place(&other), None);
        }
    }
}
