//! What things are called on the server: all of it begins with the app's prefix.
//!
//! | subject | for |
//! |---|---|
//! | `<prefix>.<channel>` | what subscribers get: plain messages, and kept ones again |
//! | `<prefix>.h<messages>-<ms>.<epoch>.<channel>` | what the stream of a `Keep` takes |
//! | `<prefix>.inbox.<connection>.<number>` | answers to a connection's questions |

use nexios::backplane::{Channel, Keep, Prefix};

/// What a subscriber of a channel listens to.
pub(crate) fn live(prefix: &Prefix, channel: &Channel) -> String {
    format!("{prefix}.{channel}")
}

/// Where the answers to one connection go, without the number.
pub(crate) fn inbox(prefix: &Prefix) -> String {
    format!("{prefix}.inbox.{:016x}", rand::random::<u64>())
}

/// A stream: what is kept by the same bounds is in one. That of bytes is applied when it is read, so it is not in the name.
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

    /// As JetStream knows it.
    pub(crate) fn text(&self) -> String {
        format!("{}-{}", self.prefix, self.bounds)
    }

    /// Where messages of a channel are published to, to be kept; `*` stands for all channels.
    pub(crate) fn subject(&self, epoch: u64, channel: &str) -> String {
        format!("{}.{}.{epoch:016x}.{channel}", self.prefix, self.bounds)
    }

    /// What the server publishes a message to that it has kept.
    pub(crate) fn republish(&self) -> String {
        format!("{}.{{{{wildcard(1)}}}}", self.prefix)
    }

    /// The epoch in a subject of this stream's.
    pub(crate) fn epoch_in(&self, subject: &str) -> Option<u64> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        epoch_behind(rest.strip_prefix(self.bounds.as_str())?.strip_prefix('.')?)
    }
}

/// The epoch in the subject of a kept message, whichever stream's.
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
