//! A connection among those of all nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::NodeId;
use crate::sender::ConnectionId;

/// A connection of an app, on whichever node: [`AppHandle::address_of`](crate::AppHandle::address_of).
///
/// Written as text, `node-connection` as in `9f3c2a0de1b45c77-17`, also in JSON. It is of use until the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionAddress {
    node: NodeId,
    connection: ConnectionId,
}

/// The text is no [`ConnectionAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection's address has the form node-connection, as in 9f3c2a0de1b45c77-17")]
pub struct InvalidAddress;

impl ConnectionAddress {
    pub(crate) fn new(node: NodeId, connection: ConnectionId) -> Self {
        Self { node, connection }
    }

    /// The node that serves it.
    pub fn node(self) -> NodeId {
        self.node
    }

    /// Its number there.
    pub fn connection(self) -> ConnectionId {
        self.connection
    }
}

impl fmt::Display for ConnectionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node, self.connection)
    }
}

impl FromStr for ConnectionAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (node, connection) = text.split_once('-').ok_or(InvalidAddress)?;
        // The integers' own parsers take a sign as well.
        let is_plain = node.len() == 16
            && node.bytes().all(|byte| byte.is_ascii_hexdigit())
            && connection.bytes().all(|byte| byte.is_ascii_digit());
        let node = u64::from_str_radix(node, 16).ok().filter(|_| is_plain).ok_or(InvalidAddress)?;
        let connection = connection.parse().ok().filter(|number| *number > 0).ok_or(InvalidAddress)?;
        Ok(Self::new(NodeId::new(node), ConnectionId::new(connection)))
    }
}

impl Serialize for ConnectionAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let address = ConnectionAddress::new(NodeId::new(0xab), ConnectionId::new(17));
        assert_eq!(address.to_string(), "00000000000000ab-17");
        assert_eq!(address.to_string().parse(), Ok(address));
        for text in
            ["", "-", "ab-1", "00000000000000ab-", "00000000000000ab-0", "00000000000000ab-+1", "+0000000000000ab-1"]
        {
            assert_eq!(text.parse::<ConnectionAddress>(), Err(InvalidAddress), "{text:?}");
        }
    }
}
