//! A place in what was published to a group.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A place in the stream of what was published to a group that has a [`History`](crate::History): behind which message
/// somebody is.
///
/// Written as text, `epoch-offset` as in `9f3c2a0de1b45c77-17`, also in JSON. The offsets of a stream grow: by 1 with each
/// message, but where a [backplane](crate::App::backplane)'s engine counts in another way (NATS does). The epoch is another one
/// whenever a stream begins anew, after a restart or after its group was gone: positions of different epochs have nothing to do
/// with each other. With a backplane the engine's stream counts, and a position is good on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

/// The text is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position has the form epoch-offset, as in 9f3c2a0de1b45c77-17")]
pub struct InvalidPosition;

impl Position {
    /// The position behind the message of this offset; with 0, before the first one.
    pub const fn new(epoch: u64, offset: u64) -> Self {
        Self { epoch, offset }
    }

    /// The stream's number.
    pub fn epoch(self) -> u64 {
        self.epoch
    }

    /// That of the newest message up to here, or 0. Where offsets grow by 1 it is also how many there were, those included
    /// that are no longer kept.
    pub fn offset(self) -> u64 {
        self.offset
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidPosition)?;
        // The integers' own parsers take a sign as well.
        let is_plain = epoch.len() == 16 && epoch.bytes().chain(offset.bytes()).all(|byte| byte.is_ascii_hexdigit());
        if !is_plain {
            return Err(InvalidPosition);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?;
        let offset = offset.parse().map_err(|_| InvalidPosition)?;
        Ok(Self { epoch, offset })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = Position { epoch: 0x00ab, offset: u64::MAX };
        assert_eq!(position.to_string(), "00000000000000ab-18446744073709551615");
        assert_eq!(position.to_string().parse(), Ok(position));
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in
            ["", "-", "1-1", "00000000000000ab", "00000000000000ab-", "00000000000000ab--1", "+0000000000000ab-1"]
        {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
        assert_eq!("00000000000000ab-+1".parse::<Position>(), Err(InvalidPosition));
        assert_eq!("00000000000000ab-18446744073709551616".parse::<Position>(), Err(InvalidPosition));
    }
}
