//! What comes through a subscription.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use nexios::Position;
use nexios::backplane::{Channel, Events, Place};
use tokio::time::{Instant, sleep_until};

use crate::names;
use crate::order::{Order, PATIENCE};
use crate::seen::Seen;
use crate::state::State;

/// Gives the messages of a channel to the node, for as long as the connection stands.
pub(crate) async fn deliver(
    mut messages: Subscriber,
    channel: Channel,
    connection: Arc<State>,
    events: Events,
    seen: Seen,
) {
    let mut watermark = seen.subscription();
    let mut order = Order::new(PATIENCE);
    let pass = |payload, place| events.message(channel.as_str(), payload, place);
    loop {
        let coming = coming(&mut messages, order.until()).await;
        if connection.is_over() {
            return;
        }
        match coming {
            Coming::Message(Message { payload, headers, .. }) => match headers.as_ref().and_then(place) {
                None => pass(payload, None),
                Some(place) => {
                    watermark.note(place.position);
                    if let Some((payload, place)) = order.add(payload, place) {
                        pass(payload, Some(place));
                    }
                }
            },
            Coming::Moment => {}
            Coming::End => return,
        }
        while let Some((payload, place)) = order.next() {
            pass(payload, Some(place));
        }
    }
}

enum Coming {
    Message(Message),
    /// What waits does so no longer.
    Moment,
    End,
}

async fn coming(messages: &mut Subscriber, until: Option<Instant>) -> Coming {
    let moment = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // First, or it would never come while there are messages.
        biased;
        () = moment => Coming::Moment,
        message = messages.next() => message.map_or(Coming::End, Coming::Message),
    }
}

/// The place of a message that a stream has kept and published again (`RePublish` of the stream, server 2.9): its sequence,
/// and that of the message before it with the same subject.
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
    fn a_message_that_was_published_again_has_its_place() {
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
