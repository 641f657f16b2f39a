//! Why a group did not do what it was asked to.

use nexios_proto::Limit;

use super::policy::GroupAction;

/// Why a group did not take a member, a name or a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A name is empty or too long.
    #[error("a group's name has 1 to {limit} bytes, not {len}")]
    InvalidName {
        /// The name's length in bytes.
        len: usize,
        /// The limit of [`GroupsConfig::name_len`](crate::GroupsConfig::name_len).
        limit: usize,
    },
    /// The connection is in as many groups as it may be.
    #[error("the connection is in as many groups as it may be ({limit:?})")]
    TooManyGroups {
        /// The limit of [`Config::groups_per_connection`](crate::Config::groups_per_connection).
        limit: Limit,
    },
    /// The connection is not in the group.
    #[error("the connection is not in the group")]
    NotMember,
    /// What a member tells of itself is too long.
    #[error("a member's key and info have at most {limit} bytes, not {len}")]
    InfoTooLong {
        /// The length of both in bytes.
        len: usize,
        /// The limit of [`GroupConfig::member_info`](crate::GroupConfig::member_info).
        limit: usize,
    },
    /// The server holds as much as it may for its peers ([`ServerConfig::buffered_bytes`](crate::ServerConfig::buffered_bytes)),
    /// of which groups, members and what they tell take at most half. Who is a member stays one. Closes 1013 when a handler
    /// lets it out.
    #[error("the server is overloaded: no memory is left for groups")]
    Overloaded,
    /// The app's [`GroupPolicy`](crate::GroupPolicy) does not allow it. Closes 1008 when a handler lets it out.
    #[error("{action} is not allowed")]
    Forbidden {
        /// What was asked for.
        action: GroupAction,
    },
    /// The group has no [`History`](crate::History).
    #[error("the group has no history")]
    NoHistory,
    /// The group's messages tell their positions, which a binary message has no place for.
    #[error("a group whose messages tell their positions takes no binary messages")]
    NoPlaceForPosition,
    /// A client's own connection belongs to no app.
    #[error("a client's own connection cannot be in a group")]
    ClientConnection,
}
