//! Properties of a server, from its replies to `INFO`.

use redis::{Pipeline, Value};

use crate::server_error;

/// Replies to `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    pub(crate) is_master: bool,
    /// `None` without the permission to ask.
    pub(crate) is_cluster: Option<bool>,
    /// True if it has SPUBLISH and SSUBSCRIBE; `None` when it was not asked, or without the permission.
    pub(crate) has_sharded_channels: Option<bool>,
    /// The replication id of its data; empty without the permission to ask.
    pub(crate) replication_id: String,
}

impl ServerInfo {
    /// Number of commands that [`request`](Self::request) adds.
    pub(crate) const COMMANDS: usize = 3;

    pub(crate) fn request(pipeline: &mut Pipeline) {
        for section in ["server", "replication", "cluster"] {
            pipeline.cmd("INFO").arg(section);
        }
    }

    /// Parses replies to sections of `INFO`. Without the permission to ask, the server is assumed to be a master; any
    /// other error says nothing about the server, neither that it is a master nor that it is not in a cluster.
    pub(crate) fn parse(replies: &[Value]) -> Result<Self, String> {
        let mut info =
            Self { is_master: true, is_cluster: None, has_sharded_channels: None, replication_id: String::new() };
        for reply in replies {
            match reply {
                Value::ServerError(error) if error.code() == "NOPERM" => {}
                Value::ServerError(error) => return Err(server_error::text(error)),
                Value::BulkString(bytes) => info.add_section(str::from_utf8(bytes).unwrap_or_default()),
                Value::VerbatimString { text, .. } => info.add_section(text),
                _ => {}
            }
        }
        Ok(info)
    }

    fn add_section(&mut self, section: &str) {
        for (name, value) in section.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name {
                "role" => self.is_master = value == "master",
                "cluster_enabled" => self.is_cluster = Some(value == "1"),
                "master_replid" => value.clone_into(&mut self.replication_id),
                // SPUBLISH and SSUBSCRIBE exist since Redis 7.0.
                "redis_version" => {
                    let major = value.split('.').next().and_then(|major| major.parse::<u32>().ok());
                    self.has_sharded_channels = major.map(|major| major >= 7);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_parsed_from_info() {
        let section =
            "# Server\r\nredis_version:7.0.15\r\nrole:slave\r\nmaster_replid:8371b4fb\r\ncluster_enabled:1\r\n";
        let info = ServerInfo::parse(&[Value::Okay, Value::BulkString(section.into())]);
        let replication_id = "8371b4fb".to_owned();
        let expected =
            ServerInfo { is_master: false, is_cluster: Some(true), has_sharded_channels: Some(true), replication_id };
        assert_eq!(info, Ok(expected));
    }

    #[test]
    fn an_error_reply_says_nothing_about_the_server() {
        let error = |line: &[u8]| redis::parse_redis_value(line).expect("an error");
        let busy = error(b"-BUSY Redis is busy running a script.\r\n");
        assert_eq!(ServerInfo::parse(&[busy]), Err("Redis: BUSY Redis is busy running a script.".to_owned()));
        let refused =
            ServerInfo::parse(&[error(b"-NOPERM this user has no permissions to run the 'info' command\r\n")]);
        let nothing =
            ServerInfo { is_master: true, is_cluster: None, has_sharded_channels: None, replication_id: String::new() };
        assert_eq!(refused, Ok(nothing), "the permission is optional");
    }
}
