//! What a test expects a call to have come to.

use std::fmt::Debug;

use nexios::client::ConnectError;
use nexios::{Error, Result, WebSocket, WebSocketDisconnect};

/// The ending that a call returned.
#[track_caller]
pub(crate) fn ending<T: Debug>(result: Result<T>) -> WebSocketDisconnect {
    match result {
        Err(Error::Disconnect(end)) => end,
        other => panic!("expected a disconnect, got {other:?}"),
    }
}

/// The code of the ending that a call returned.
#[track_caller]
pub(crate) fn code<T: Debug>(result: Result<T>) -> u16 {
    ending(result).code().into()
}

/// The response with which a server refused.
#[track_caller]
pub(crate) fn refusal(result: Result<WebSocket>) -> http::Response<nexios::Bytes> {
    match result {
        Err(Error::Connect(ConnectError::Refused(response))) => *response,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The status with which a server refused.
#[track_caller]
pub(crate) fn status(result: Result<WebSocket>) -> u16 {
    refusal(result).status().as_u16()
}
