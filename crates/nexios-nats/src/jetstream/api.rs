//! Requests to JetStream and their JSON replies (server 2.9 and newer).

use async_nats::{HeaderMap, Message, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nexios::backplane::BackplaneError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::connection::Connection;

/// An error in a reply of JetStream.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) err_code: u16,
    #[serde(default)]
    description: String,
}

impl ApiError {
    pub(crate) const NO_MESSAGE: u16 = 10_037;
    pub(crate) const NO_STREAM: u16 = 10_059;
    pub(crate) const NAME_IN_USE: u16 = 10_058;

    /// `Unavailable` if a retry may succeed, `Refused` otherwise.
    pub(crate) fn into_error(self) -> BackplaneError {
        let Self { code, err_code, description } = self;
        match err_code {
            // Not enabled, for this account or at all.
            10_039 | 10_076 => no_jetstream(),
            // No storage, or no server, for a stream now: 10002 and 10005 have the code of a bad request.
            10_002 | 10_005 => BackplaneError::unavailable(format!("JetStream: {description}")),
            // Replicas without a cluster.
            10_074 => BackplaneError::refused(format!("JetStream: {description}")),
            _ if code == 400 => BackplaneError::refused(format!("JetStream: {description} ({err_code})")),
            _ => BackplaneError::unavailable(format!("JetStream: {description} ({err_code})")),
        }
    }
}

/// The error of histories without JetStream, with the remedy for the operator.
pub(crate) fn no_jetstream() -> BackplaneError {
    BackplaneError::refused(
        "groups with history need JetStream, which is not enabled on the NATS server for this account: start it with \
         `-js`, or with `jetstream {}` in its configuration",
    )
}

/// The configuration of a new stream.
#[derive(Debug, Serialize)]
pub(crate) struct StreamConfig<'a> {
    pub(crate) name: &'a str,
    pub(crate) subjects: [String; 1],
    pub(crate) storage: &'static str,
    pub(crate) num_replicas: usize,
    pub(crate) retention: &'static str,
    pub(crate) discard: &'static str,
    pub(crate) max_msgs_per_subject: i64,
    /// Nanoseconds.
    pub(crate) max_age: i64,
    /// Nanoseconds.
    pub(crate) duplicate_window: i64,
    pub(crate) allow_direct: bool,
    pub(crate) republish: Republish,
}

/// The subjects between which a stream republishes its messages.
#[derive(Debug, Serialize)]
pub(crate) struct Republish {
    pub(crate) src: String,
    pub(crate) dest: String,
}

/// The current state of a stream, as reported by its leader.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: InfoConfig,
    pub(crate) state: InfoState,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InfoConfig {
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    #[serde(default)]
    pub(crate) num_replicas: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InfoState {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    #[serde(default)]
    subjects: std::collections::HashMap<String, u64>,
}

impl InfoState {
    /// Number of messages with the requested subject.
    pub(crate) fn count(&self) -> u64 {
        self.subjects.values().sum()
    }
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StoredMessage {
    pub(crate) offset: u64,
    pub(crate) time: OffsetDateTime,
    pub(crate) id: Option<String>,
    /// Size of the payload in bytes, also after the payload was evicted.
    pub(crate) size: usize,
    pub(crate) payload: Bytes,
}

/// The acknowledgement of a stored message, with its sequence number.
#[derive(Debug, Deserialize)]
pub(crate) struct Ack {
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Response<T> {
    Error { error: ApiError },
    Done(T),
}

/// The state of a stream, with the number of its messages with a subject; `None` if the stream does not exist.
pub(crate) async fn info(
    connection: &Connection,
    stream: &str,
    subject: &str,
) -> Result<Option<StreamInfo>, BackplaneError> {
    let query = json!({ "subjects_filter": subject });
    match request(connection, &format!("STREAM.INFO.{stream}"), &query).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.err_code == ApiError::NO_STREAM => Ok(None),
        Err(error) => Err(error.into_error()),
    }
}

/// Creates a stream.
pub(crate) async fn create(
    connection: &Connection,
    config: &StreamConfig<'_>,
) -> Result<Result<StreamInfo, ApiError>, BackplaneError> {
    request(connection, &format!("STREAM.CREATE.{}", config.name), config).await
}

/// Deletes a stream with all its messages.
pub(crate) async fn delete(connection: &Connection, stream: &str) -> Result<(), BackplaneError> {
    let deleted: Result<serde_json::Value, ApiError> =
        request(connection, &format!("STREAM.DELETE.{stream}"), &json!({})).await?;
    match deleted {
        Err(error) if error.err_code != ApiError::NO_STREAM => Err(error.into_error()),
        _ => Ok(()),
    }
}

/// The newest message of a subject, as the stream's leader knows it.
pub(crate) async fn newest(
    connection: &Connection,
    stream: &str,
    subject: &str,
) -> Result<Option<StoredMessage>, BackplaneError> {
    from_leader(connection, stream, &json!({ "last_by_subj": subject })).await
}

/// The first message of a subject from an offset on, as the stream's leader knows it.
pub(crate) async fn next(
    connection: &Connection,
    stream: &str,
    subject: &str,
    offset: u64,
) -> Result<Option<StoredMessage>, BackplaneError> {
    from_leader(connection, stream, &json!({ "seq": offset.max(1), "next_by_subj": subject })).await
}

async fn from_leader(
    connection: &Connection,
    stream: &str,
    query: &serde_json::Value,
) -> Result<Option<StoredMessage>, BackplaneError> {
    #[derive(Deserialize)]
    struct Fetched {
        message: RawMessage,
    }
    match request::<Fetched>(connection, &format!("STREAM.MSG.GET.{stream}"), query).await? {
        Ok(fetched) => fetched.message.decode().map(Some).ok_or_else(malformed),
        Err(error) if matches!(error.err_code, ApiError::NO_MESSAGE | ApiError::NO_STREAM) => Ok(None),
        Err(error) => Err(error.into_error()),
    }
}

/// As [`newest`], from any replica: it may lag behind the leader, and costs the servers less.
pub(crate) async fn newest_direct(
    connection: &Connection,
    stream: &str,
    subject: &str,
) -> Result<Option<StoredMessage>, BackplaneError> {
    from_any_replica(connection, stream, &json!({ "last_by_subj": subject })).await
}

/// As [`next`], from any replica.
pub(crate) async fn next_direct(
    connection: &Connection,
    stream: &str,
    subject: &str,
    offset: u64,
) -> Result<Option<StoredMessage>, BackplaneError> {
    from_any_replica(connection, stream, &json!({ "seq": offset.max(1), "next_by_subj": subject })).await
}

async fn from_any_replica(
    connection: &Connection,
    stream: &str,
    query: &serde_json::Value,
) -> Result<Option<StoredMessage>, BackplaneError> {
    let reply = connection.request(format!("$JS.API.DIRECT.GET.{stream}"), HeaderMap::new(), to_json(query)?).await?;
    let reply = reply.wait().await?;
    match reply.status {
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(StatusCode::NO_RESPONDERS) => return Err(BackplaneError::unavailable("no server has the stream")),
        _ => {}
    }
    parse_direct(reply).map(Some).ok_or_else(malformed)
}

fn parse_direct(reply: Message) -> Option<StoredMessage> {
    let headers = reply.headers?;
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    let offset = text("Nats-Sequence")?.parse().ok()?;
    let time = OffsetDateTime::parse(text("Nats-Time-Stamp")?, &Rfc3339).ok()?;
    let id = text("Nats-Msg-Id").map(str::to_owned);
    Some(StoredMessage { offset, time, id, size: reply.payload.len(), payload: reply.payload })
}

#[derive(Deserialize)]
struct RawMessage {
    seq: u64,
    time: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
}

impl RawMessage {
    fn decode(self) -> Option<StoredMessage> {
        let time = OffsetDateTime::parse(&self.time, &Rfc3339).ok()?;
        let payload = Bytes::from(STANDARD.decode(self.data).ok()?);
        let headers = String::from_utf8(STANDARD.decode(self.hdrs).ok()?).ok()?;
        let id = headers.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: ")).map(str::to_owned);
        Some(StoredMessage { offset: self.seq, time, id, size: payload.len(), payload })
    }
}

async fn request<T: DeserializeOwned>(
    connection: &Connection,
    endpoint: &str,
    body: &impl Serialize,
) -> Result<Result<T, ApiError>, BackplaneError> {
    let reply =
        connection.request(format!("$JS.API.{endpoint}"), HeaderMap::new(), to_json(body)?).await?.wait().await?;
    if reply.status == Some(StatusCode::NO_RESPONDERS) {
        let is_missing = !connection.has_jetstream();
        return Err(if is_missing { no_jetstream() } else { BackplaneError::unavailable("JetStream does not answer") });
    }
    parse(&reply.payload)
}

fn to_json(body: &impl Serialize) -> Result<Bytes, BackplaneError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(BackplaneError::refused)
}

/// Parses a reply of JetStream.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<Result<T, ApiError>, BackplaneError> {
    match serde_json::from_slice(payload).map_err(|_| malformed())? {
        Response::Error { error } => Ok(Err(error)),
        Response::Done(done) => Ok(Ok(done)),
    }
}

fn malformed() -> BackplaneError {
    BackplaneError::unavailable("a reply of JetStream is malformed")
}
