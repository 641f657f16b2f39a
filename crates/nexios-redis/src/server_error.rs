//! Classification of errors that a server returns.

use nexios::backplane::BackplaneError;
use redis::{RedisError, ServerError};

use crate::address::Server;

/// Codes of transient errors, and of those that an operator can resolve.
const TRANSIENT: [&str; 18] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NEXIOSORDER",
    "NOAUTH",
    "NOGOODSLAVE",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
    "WRONGPASS",
    "UNBLOCKED",
];

/// Transient errors after which another server may be responsible.
const TOPOLOGY_CHANGED: [&str; 5] = ["CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "READONLY"];

/// The error of a message that the server has not published.
pub(crate) fn publish_error(error: &ServerError) -> BackplaneError {
    if among(error, &TRANSIENT) {
        BackplaneError::unavailable(text(error))
    } else {
        BackplaneError::refused(text(error))
    }
}

/// Returns true if the error suggests that the topology has changed.
pub(crate) fn needs_rediscovery(error: &ServerError) -> bool {
    among(error, &TOPOLOGY_CHANGED)
}

/// Returns true if the script must be loaded again.
pub(crate) fn is_unknown_script(error: &ServerError) -> bool {
    matches!(error.code(), "NOSCRIPT" | "NEXIOSORDER")
}

/// The server to which the slot of a key is migrating (`ASK`).
pub(crate) fn ask_redirect(error: &ServerError, asked: &Server) -> Option<Server> {
    if error.code() == "ASK" { target(error.details()?, asked) } else { None }
}

/// Parses `slot host:port`.
fn target(details: &str, asked: &Server) -> Option<Server> {
    let (host, port) = details.split_once(' ')?.1.rsplit_once(':')?;
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    Some(Server { host: host.to_owned(), port: port.parse().ok()? })
}

/// A server's error as text for the operator.
pub(crate) fn text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => redacted(&format!("Redis: {} {details}", error.code())),
        None => format!("Redis: {}", error.code()),
    }
}

/// A connection error as text for the operator.
pub(crate) fn of_connection(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => redacted(&format!("Redis: {code} {detail}")),
        _ => redacted(&error.to_string()),
    }
}

/// Removes the arguments of an unknown command, which a server repeats: those of HELLO include the password.
fn redacted(text: &str) -> String {
    text.split(", with args beginning with").next().unwrap_or_default().to_owned()
}

fn among(error: &ServerError, codes: &[&str]) -> bool {
    is_among(error.code(), error.details(), codes)
}

/// Before Redis 7 an error within a script has the code ERR, and its own code is a word of the text, with a leading
/// `-`.
fn is_among(code: &str, details: Option<&str>, codes: &[&str]) -> bool {
    let inner = if code == "ERR" { details.unwrap_or_default() } else { "" };
    let mut words = inner.split_ascii_whitespace().map(|word| word.strip_prefix('-').unwrap_or(word));
    codes.contains(&code) || words.any(|word| codes.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_within_scripts_are_classified_in_all_versions() {
        let within = |error: &str| {
            format!("Error running script (call to f_35a4e0c0): @user_script:27: @user_script: 27: {error}")
        };
        let check = |code: &str, details: &str, is_transient: bool, is_topology_change: bool| {
            assert_eq!(is_among(code, Some(details), &TRANSIENT), is_transient, "{code} {details}");
            assert_eq!(is_among(code, Some(details), &TOPOLOGY_CHANGED), is_topology_change, "{code} {details}");
        };
        // Redis 6.2
        check("ERR", &within("-OOM command not allowed when used memory > 'maxmemory'."), true, false);
        check("ERR", &within("-READONLY You can't write against a read only replica."), true, true);
        check("ERR", &within("-MISCONF Errors writing to the AOF file: No space left on device"), true, false);
        check("ERR", &within("-NOREPLICAS Not enough good replicas to write."), true, false);
        check("ERR", &within("Wrong number of args calling Redis command From Lua script"), false, false);
        // Redis 7.0
        check("READONLY", "You can't write against a read only replica. script: 35a4e0c0", true, true);
        check("OOM", "command not allowed when used memory > 'maxmemory'. script: 35a4e0c0", true, false);
        check("NOPERM", "READONLY is no code here", false, false);
    }

    #[test]
    fn a_migrating_slot_is_requested_at_its_target() {
        let asked = Server { host: "a".to_owned(), port: 9 };
        let check = |details: &str, expected: Option<&str>| {
            let target = target(details, &asked).map(|server| server.to_string());
            assert_eq!(target.as_deref(), expected, "{details}");
        };
        check("3999 127.0.0.1:6381", Some("127.0.0.1:6381"));
        check("3999 ::1:6381", Some("[::1]:6381"));
        check("3999 redis-2.example:6381", Some("redis-2.example:6381"));
        check("3999 :6381", Some("a:6381"));
        check("3999 ?:6381", Some("a:6381"));
        check("3999", None);
        check("3999 b:x", None);
    }

    #[test]
    fn a_password_that_the_server_repeats_is_redacted() {
        let line = "Redis: ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'secret'";
        assert_eq!(redacted(line), "Redis: ERR unknown command 'HELLO'");
        let reply = b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `secret`, \r\n";
        let Ok(redis::Value::ServerError(error)) = redis::parse_redis_value(reply) else { panic!("no error") };
        assert_eq!(text(&error), "Redis: ERR unknown command `HELLO`");
        assert!(!of_connection(&RedisError::from(error)).contains("secret"));
    }
}
