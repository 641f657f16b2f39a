//! Names of subjects and streams on the server. All begin with the app's prefix.
//!
//! | subject | use |
//! |---|---|
//! | `<prefix>.<channel>` | subscriptions: plain messages, and kept ones as their stream republishes them |
//! | `<prefix>.h<messages>-<ms>.<epoch>.<channel>` | messages for the stream of a `Keep` |
//! | `<prefix>.inbox.<connection>.<number>` | replies to a connection's requests |

use nexios::backplane::{Channel, Keep, MessageId, Prefix};

/// The subject of a channel's subscribers.
pub(crate) fn live(prefix: &Prefix, channel: &Channel) -> String {
    format!("{prefix}.{channel}")
}

/// The inbox of a new connection: the subject of its replies, without their number.
pub(crate) fn inbox(prefix: &Prefix) -> String {
    format!("{prefix}.inbox.{:016x}", rand::random::<u64>())
}

/// The value of `Nats-Msg-Id`, by which JetStream recognises a duplicate.
pub(crate) fn message_id(id: MessageId) -> String {
    format!("{}-{}", id.node, id.number)
}

/// The name of a stream. Histories with the same bounds share one; the bound on bytes is applied when a history is
/// read, so it is not part of the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamName {
    prefix: Prefix,
    bounds: String,
}

impl StreamName {
    pub(crate) fn new(prefix: &Prefix, keep: Keep) -> Self {
        let bounds = format!("h{}-{}", keep.messages, keep.age.as_millis());
        Self { prefix: prefix.clone(), bounds }
    }

    /// The name on the server.
    pub(crate) fn text(&self) -> String {
        format!("{}-{}", self.prefix, self.bounds)
    }

    /// The subject to publish a kept message of a channel to; `*` as the channel matches all channels.
    pub(crate) fn subject(&self, epoch: u64, channel: &str) -> String {
        format!("{}.{}.{epoch:016x}.{channel}", self.prefix, self.bounds)
    }

    /// The subject to which the server republishes a stored message.
    pub(crate) fn republish(&self) -> String {
        format!("{}.{{{{wildcard(1)}}}}", self.prefix)
    }

    /// The epoch in a subject of this stream.
    pub(crate) fn epoch_in(&self, subject: &str) -> Option<u64> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        epoch_behind(rest.strip_prefix(self.bounds.as_str())?.strip_prefix('.')?)
    }
}

/// The epoch in the subject of a kept message of any stream.
pub(crate) fn epoch_of(subject: &str) -> Option<u64> {
    epoch_behind(subject.splitn(3, '.').nth(2)?)
}

fn epoch_behind(text: &str) -> Option<u64> {
    let (epoch, _) = text.split_once('.')?;
    u64::from_str_radix(epoch, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_epoch_of_a_stream_is_in_its_subjects() {
        let keep = Keep { messages: 100, bytes: 1, age: Duration::from_mins(1) };
        let name = StreamName::new(&Prefix::default(), keep);
        assert_eq!(name.text(), "nexios-h100-60000");
        let subject = name.subject(0x2a, Channel::group("a.b").as_str());
        assert_eq!(subject, "nexios.h100-60000.000000000000002a.g-a=2eb");
        assert_eq!(name.epoch_in(&subject), Some(0x2a));
        assert_eq!(epoch_of(&subject), Some(0x2a));
        assert_eq!(epoch_of("nexios.g-a"), None);
        assert_eq!(name.epoch_in("nexios.>"), None);
    }
}
