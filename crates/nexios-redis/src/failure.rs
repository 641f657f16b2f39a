//! What an error of the server's means.

use nexios::backplane::BackplaneError;
use redis::{RedisError, ServerError};

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
    if code_among(error, &PASSING).is_some() {
        BackplaneError::unavailable(text(error))
    } else {
        BackplaneError::refused(text(error))
    }
}

/// Whether the servers are to be looked for again.
pub(crate) fn is_elsewhere(error: &ServerError) -> bool {
    code_among(error, &ELSEWHERE).is_some()
}

/// Whether the script is to be sent again.
pub(crate) fn is_unknown_script(error: &ServerError) -> bool {
    matches!(error.code(), "NOSCRIPT" | "NEXIOSORDER")
}

/// An error of the server's for the operator.
pub(crate) fn text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("Redis: {} {details}", error.code()),
        None => format!("Redis: {}", error.code()),
    }
}

/// An error of the connection's for the operator.
pub(crate) fn of_connection(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("Redis: {code} {detail}"),
        _ => error.to_string(),
    }
}

/// Before Redis 7 an error within a script has the code ERR, and its own stands somewhere in the text.
fn code_among<'a>(error: &ServerError, codes: &[&'a str]) -> Option<&'a str> {
    let code = error.code();
    let inner = if code == "ERR" { error.details().unwrap_or_default() } else { "" };
    codes.iter().find(|known| code == **known || inner.split_ascii_whitespace().any(|word| word == **known)).copied()
}
