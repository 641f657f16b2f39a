//! Names that no engine can misunderstand.

use std::borrow::Borrow;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

/// A node's number: drawn by chance when an app starts, so that a process that was restarted is another node.
///
/// Written as text, 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// A number that nobody has.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The node of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where messages go: those of a group, of one node, or of all.
///
/// As text it is what an implementation names its channel after, behind the app's [`Prefix`]. A group's name is encoded, so
/// that none can be taken for another's channel, for a pattern, or for two words: letters, digits, `-` and `_` stand for
/// themselves, every other byte is `=` and two hexadecimal digits.
///
/// ```
/// use nexios::backplane::Channel;
///
/// assert_eq!(Channel::group("room 7").as_str(), "g-room=207");
/// assert_eq!(Channel::group("*").as_str(), "g-=2a");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Arc<str>);

impl Channel {
    pub(crate) const ALL: &'static str = "all";

    /// A group's.
    pub fn group(name: &str) -> Self {
        let mut text = String::with_capacity(2 + name.len());
        text.push_str("g-");
        encode(name, &mut text);
        Self(text.into())
    }

    /// That all nodes listen to.
    pub fn all_nodes() -> Self {
        Self(Self::ALL.into())
    }

    /// That one node listens to.
    pub fn node(id: NodeId) -> Self {
        Self(format!("n-{id}").into())
    }

    /// Its name: ASCII letters, digits, `-`, `_` and `=`, 3 to 640 bytes for groups with names of up to 200 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Channels are found by their names.
impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the names of an app begin with on an engine that others use, too: 1 to 64 ASCII letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

/// The text is no [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix has 1 to 64 letters, digits, `-` and `_`")]
pub struct InvalidPrefix;

impl Prefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    /// `nexios`.
    fn default() -> Self {
        Self("nexios".into())
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let is_valid = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidPrefix) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn encode(name: &str, out: &mut String) {
    for byte in name.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "={byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_a_channel_of_plain_characters() {
        let long = "ß".repeat(100);
        let names =
            ["a", "room 7", "*", "[a-z]", ">", ".", "a.b.>", "{x}", "=2a", "g-a", "\0\r\n\t", "日本", "?", "\\", &long];
        for name in names {
            let channel = Channel::group(name);
            let is_safe = |byte: u8| is_plain(byte) || byte == b'=';
            assert!(channel.as_str().bytes().all(is_safe), "{channel}");
            assert!(channel.as_str().len() <= 640, "{channel}");
        }
    }

    #[test]
    fn no_two_names_share_a_channel() {
        let names = ["*", "=2a", "=2A", "==", "all", "n-0000000000000001", "g-", "a", "A"];
        let channels: std::collections::HashSet<_> = names.iter().map(|name| Channel::group(name)).collect();
        assert_eq!(channels.len(), names.len());
        assert!(!channels.contains(&Channel::all_nodes()));
        assert!(!channels.contains(&Channel::node(NodeId::new(1))));
    }

    #[test]
    fn a_prefix_is_short_and_plain() {
        assert_eq!("my-app_2".parse::<Prefix>().map(|prefix| prefix.to_string()), Ok("my-app_2".to_owned()));
        let long = "a".repeat(65);
        for text in ["", "a.b", "a*", "a b", "ü", "a:b", &long] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix), "{text:?}");
        }
    }
}
