//! What other nodes miss and have not been told, because there was no room for it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::wire::is_false;
use super::{Channel, Keep};

/// So many groups are told one by one that messages to them were lost; beyond, all are told.
const LOST: usize = 1024;

/// Where members of other nodes have a gap, and have not been told.
#[derive(Debug, Default)]
pub(super) struct Lost {
    channels: HashMap<Channel, Untold>,
    /// In more channels than can be remembered.
    pub(super) any: Missing,
    /// How many messages it were.
    pub(super) messages: u64,
}

/// What others have to be told of a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Untold {
    pub(super) missing: Missing,
    /// How much of the channel is kept, when something of that is lost.
    pub(super) keep: Option<Keep>,
}

impl From<Missing> for Untold {
    fn from(missing: Missing) -> Self {
        Self { missing, keep: None }
    }
}

impl From<Keep> for Untold {
    /// A message that the engine would have kept.
    fn from(keep: Keep) -> Self {
        Self { missing: Loss::Kept.into(), keep: Some(keep) }
    }
}

impl Lost {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty() && !self.any.is_something()
    }

    pub(super) fn channels(&self) -> Vec<Channel> {
        self.channels.keys().cloned().collect()
    }

    /// What is to be told of a channel; the caller does it, or notes it again.
    pub(super) fn take(&mut self, channel: &Channel) -> Option<Untold> {
        self.channels.remove(channel)
    }

    /// One more message is lost.
    pub(super) fn count(&mut self, channel: &Channel, untold: Untold) {
        self.messages += 1;
        self.note(channel, untold);
    }

    pub(super) fn note(&mut self, channel: &Channel, untold: Untold) {
        if !untold.missing.is_something() {
            return;
        }
        if self.channels.len() < LOST || self.channels.contains_key(channel) {
            let noted = self.channels.entry(channel.clone()).or_default();
            noted.missing.add(untold.missing);
            noted.keep = untold.keep.or(noted.keep);
        } else {
            self.any.add(untold.missing);
        }
    }
}

/// What others miss because there was no room for it, or because the engine refused it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) messages: Loss,
    /// That nobody of a group is on the node any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) goodbye: bool,
}

/// Which messages are lost. The later ones are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    #[default]
    Nothing,
    /// Such as have no place.
    Placeless,
    /// Also such as the engine would have kept.
    Kept,
}

impl Missing {
    pub(crate) fn add(&mut self, other: Self) {
        self.messages = self.messages.max(other.messages);
        self.goodbye |= other.goodbye;
    }

    pub(crate) fn is_something(self) -> bool {
        self != Self::default()
    }
}

impl From<Loss> for Missing {
    fn from(messages: Loss) -> Self {
        Self { messages, goodbye: false }
    }
}
