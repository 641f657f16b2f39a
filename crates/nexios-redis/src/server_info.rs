//! What a server says of itself.

use redis::{Pipeline, Value};

use crate::failure;

/// Answers to `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) is_master: bool,
    /// `None` when it may not be asked.
    pub(crate) is_cluster: Option<bool>,
    /// Whether it knows SPUBLISH and SSUBSCRIBE; `None` when it was not asked, or may not be.
    pub(crate) has_sharded_channels: Option<bool>,
    /// The replication id of its data; empty when it may not be asked.
    pub(crate) origin: String,
}

impl Facts {
    /// How many commands [`ask`](Self::ask) adds.
    pub(crate) const COMMANDS: usize = 3;

    pub(crate) fn ask(pipeline: &mut Pipeline) {
        for section in ["server", "replication", "cluster"] {
            pipeline.cmd("INFO").arg(section);
        }
    }

    /// From the answers to some sections of `INFO`. One who may not ask for it is believed to be at the right place; any other
    /// error says nothing of the server, neither that it is a master nor that it is no cluster.
    pub(crate) fn of(answers: &[Value]) -> Result<Self, String> {
        let mut facts = Self { is_master: true, is_cluster: None, has_sharded_channels: None, origin: String::new() };
        for answer in answers {
            match answer {
                Value::ServerError(error) if error.code() == "NOPERM" => {}
                Value::ServerError(error) => return Err(failure::text(error)),
                Value::BulkString(bytes) => facts.learn(str::from_utf8(bytes).unwrap_or_default()),
                Value::VerbatimString { text, .. } => facts.learn(text),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn learn(&mut self, info: &str) {
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name {
                "role" => self.is_master = value == "master",
                "cluster_enabled" => self.is_cluster = Some(value == "1"),
                "master_replid" => value.clone_into(&mut self.origin),
                // SPUBLISH and SSUBSCRIBE have come with Redis 7.0.
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
    fn a_server_says_what_it_is() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrole:slave\r\nmaster_replid:8371b4fb\r\ncluster_enabled:1\r\n";
        let facts = Facts::of(&[Value::Okay, Value::BulkString(info.into())]);
        let origin = "8371b4fb".to_owned();
        let expected = Facts { is_master: false, is_cluster: Some(true), has_sharded_channels: Some(true), origin };
        assert_eq!(facts, Ok(expected));
    }

    #[test]
    fn a_server_that_answers_with_an_error_says_nothing_of_itself() {
        let error = |line: &[u8]| redis::parse_redis_value(line).expect("an error");
        let busy = error(b"-BUSY Redis is busy running a script.\r\n");
        assert_eq!(Facts::of(&[busy]), Err("Redis: BUSY Redis is busy running a script.".to_owned()));
        let refused = Facts::of(&[error(b"-NOPERM this user has no permissions to run the 'info' command\r\n")]);
        let nothing = Facts { is_master: true, is_cluster: None, has_sharded_channels: None, origin: String::new() };
        assert_eq!(refused, Ok(nothing), "whoever may not ask gets along");
    }
}
