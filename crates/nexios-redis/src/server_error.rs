//! What an error of the server's means.

use nexios::backplane::BackplaneError;
use redis::{RedisError, ServerError};

use crate::address::Server;

/// Codes of errors that go away by themselves, or when an operator has done something.
const PASSING: [&str; 18] = [
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

/// Of those, the ones after which the server is perhaps no longer the one to ask.
const ELSEWHERE: [&str; 5] = ["CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "READONLY"];

/// What an error of the server's means for a message.
pub(crate) fn of_message(error: &ServerError) -> BackplaneError {
    if among(error, &PASSING) { BackplaneError::unavailable(text(error)) } else { BackplaneError::refused(text(error)) }
}

/// Whether the servers are to be looked for again.
pub(crate) fn is_elsewhere(error: &ServerError) -> bool {
    among(error, &ELSEWHERE)
}

/// Whether the script is to be sent again.
pub(crate) fn is_unknown_script(error: &ServerError) -> bool {
    matches!(error.code(), "NOSCRIPT" | "NEXIOSORDER")
}

/// Which server has a key while its slot is on the way there from the one that was asked.
pub(crate) fn moving_to(error: &ServerError, asked: &Server) -> Option<Server> {
    if error.code() == "ASK" { target(error.details()?, asked) } else { None }
}

/// `slot host:port`
fn target(details: &str, asked: &Server) -> Option<Server> {
    let (host, port) = details.split_once(' ')?.1.rsplit_once(':')?;
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    Some(Server { host: host.to_owned(), port: port.parse().ok()? })
}

/// An error of the server's for the operator.
pub(crate) fn text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => shown(&format!("Redis: {} {details}", error.code())),
        None => format!("Redis: {}", error.code()),
    }
}

/// An error of the connection's for the operator.
pub(crate) fn of_connection(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => shown(&format!("Redis: {code} {detail}")),
        _ => shown(&error.to_string()),
    }
}

/// Without the arguments that a server repeats of a command which it does not know: of HELLO, the password is one of them.
fn shown(text: &str) -> String {
    text.split(", with args beginning with").next().unwrap_or_default().to_owned()
}

fn among(error: &ServerError, codes: &[&str]) -> bool {
    is_among(error.code(), error.details(), codes)
}

/// Before Redis 7 an error within a script has the code ERR, and its own stands somewhere in the text, with a `-` in front.
fn is_among(code: &str, details: Option<&str>, codes: &[&str]) -> bool {
    let inner = if code == "ERR" { details.unwrap_or_default() } else { "" };
    let mut words = inner.split_ascii_whitespace().map(|word| word.strip_prefix('-').unwrap_or(word));
    codes.contains(&code) || words.any(|word| codes.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_within_scripts_are_known_in_all_versions() {
        let within = |error: &str| {
            format!("Error running script (call to f_35a4e0c0): @user_script:27: @user_script: 27: {error}")
        };
        let check = |code: &str, details: &str, is_passing: bool, is_elsewhere: bool| {
            assert_eq!(is_among(code, Some(details), &PASSING), is_passing, "{code} {details}");
            assert_eq!(is_among(code, Some(details), &ELSEWHERE), is_elsewhere, "{code} {details}");
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
    fn a_slot_that_moves_is_asked_for_at_its_target() {
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
    fn a_password_that_the_server_repeats_is_not_shown() {
        let told = "Redis: ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'secret'";
        assert_eq!(shown(told), "Redis: ERR unknown command 'HELLO'");
        let line = b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `secret`, \r\n";
        let Ok(redis::Value::ServerError(error)) = redis::parse_redis_value(line) else { panic!("no error") };
        assert_eq!(text(&error), "Redis: ERR unknown command `HELLO`");
        assert!(!of_connection(&RedisError::from(error)).contains("secret"));
    }
}
