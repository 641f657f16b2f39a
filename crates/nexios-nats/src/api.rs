//! What is asked of JetStream: requests and answers are JSON (server 2.9 and newer).

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

use crate::link::Link;

/// Why JetStream did not do something.
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

    /// Whether to try again.
    pub(crate) fn into_error(self) -> BackplaneError {
        let Self { code, err_code, description } = self;
        match err_code {
            // Not enabled, for this account or at all.
            10_039 | 10_076 => no_jetstream(),
            // No room, or no server, for a stream now: 10002 and 10005 have the code of a bad request.
            10_002 | 10_005 => BackplaneError::unavailable(format!("JetStream: {description}")),
            // Replicas without a cluster.
            10_074 => BackplaneError::refused(format!("JetStream: {description}")),
            _ if code == 400 => BackplaneError::refused(format!("JetStream: {description} ({err_code})")),
            _ => BackplaneError::unavailable(format!("JetStream: {description} ({err_code})")),
        }
    }
}

/// What an operator has to do before there is history.
pub(crate) fn no_jetstream() -> BackplaneError {
    BackplaneError::refused(
        "groups with history need JetStream, which is not enabled on the NATS server for this account: start it with \
         `-js`, or with `jetstream {}` in its configuration",
    )
}

/// How a stream is made.
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

/// Where a stream's messages are published again.
#[derive(Debug, Serialize)]
pub(crate) struct Republish {
    pub(crate) src: String,
    pub(crate) dest: String,
}

/// What a stream is like now, as its leader says.
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
    /// How many messages there are of the subject that was asked about.
    pub(crate) fn count(&self) -> u64 {
        self.subjects.values().sum()
    }
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    pub(crate) time: OffsetDateTime,
    pub(crate) id: Option<String>,
    /// How many bytes the payload has, or had before it was let go.
    pub(crate) size: usize,
    pub(crate) payload: Bytes,
}

/// The number of a message that was kept.
#[derive(Debug, Deserialize)]
pub(crate) struct Ack {
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reply<T> {
    Error { error: ApiError },
    Done(T),
}

/// What a stream is like, and how many messages it has of a subject.
pub(crate) async fn info(link: &Link, stream: &str, subject: &str) -> Result<Option<StreamInfo>, BackplaneError> {
    let request = json!({ "subjects_filter": subject });
    match ask(link, &format!("STREAM.INFO.{stream}"), &request).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.err_code == ApiError::NO_STREAM => Ok(None),
        Err(error) => Err(error.into_error()),
    }
}

/// Makes a stream.
pub(crate) async fn create(
    link: &Link,
    config: &StreamConfig<'_>,
) -> Result<Result<StreamInfo, ApiError>, BackplaneError> {
    ask(link, &format!("STREAM.CREATE.{}", config.name), config).await
}

/// Deletes a stream with all that it has.
pub(crate) async fn delete(link: &Link, stream: &str) -> Result<(), BackplaneError> {
    let deleted: Result<serde_json::Value, ApiError> =
        ask(link, &format!("STREAM.DELETE.{stream}"), &json!({})).await?;
    match deleted {
        Err(error) if error.err_code != ApiError::NO_STREAM => Err(error.into_error()),
        _ => Ok(()),
    }
}

/// The newest message of a subject, as the stream's leader knows it.
pub(crate) async fn newest(link: &Link, stream: &str, subject: &str) -> Result<Option<Stored>, BackplaneError> {
    from_leader(link, stream, &json!({ "last_by_subj": subject })).await
}

/// The first message of a subject from an offset on, as the stream's leader knows it.
pub(crate) async fn next(
    link: &Link,
    stream: &str,
    subject: &str,
    offset: u64,
) -> Result<Option<Stored>, BackplaneError> {
    from_leader(link, stream, &json!({ "seq": offset.max(1), "next_by_subj": subject })).await
}

async fn from_leader(link: &Link, stream: &str, request: &serde_json::Value) -> Result<Option<Stored>, BackplaneError> {
    #[derive(Deserialize)]
    struct Found {
        message: Raw,
    }
    match ask::<Found>(link, &format!("STREAM.MSG.GET.{stream}"), request).await? {
        Ok(found) => found.message.decode().map(Some).ok_or_else(malformed),
        Err(error) if matches!(error.err_code, ApiError::NO_MESSAGE | ApiError::NO_STREAM) => Ok(None),
        Err(error) => Err(error.into_error()),
    }
}

/// As [`newest`], from whichever replica answers: that may know less than the leader. Costs the servers less.
pub(crate) async fn newest_direct(link: &Link, stream: &str, subject: &str) -> Result<Option<Stored>, BackplaneError> {
    from_anyone(link, stream, &json!({ "last_by_subj": subject })).await
}

/// As [`next`], from whichever replica answers.
pub(crate) async fn next_direct(
    link: &Link,
    stream: &str,
    subject: &str,
    offset: u64,
) -> Result<Option<Stored>, BackplaneError> {
    from_anyone(link, stream, &json!({ "seq": offset.max(1), "next_by_subj": subject })).await
}

async fn from_anyone(link: &Link, stream: &str, request: &serde_json::Value) -> Result<Option<Stored>, BackplaneError> {
    let answer = link.ask(format!("$JS.API.DIRECT.GET.{stream}"), HeaderMap::new(), to_json(request)?).await?;
    let answer = answer.wait().await?;
    match answer.status {
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(StatusCode::NO_RESPONDERS) => return Err(BackplaneError::unavailable("no server has the stream")),
        _ => {}
    }
    direct(answer).map(Some).ok_or_else(malformed)
}

fn direct(answer: Message) -> Option<Stored> {
    let headers = answer.headers?;
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    let offset = text("Nats-Sequence")?.parse().ok()?;
    let time = OffsetDateTime::parse(text("Nats-Time-Stamp")?, &Rfc3339).ok()?;
    let id = text("Nats-Msg-Id").map(str::to_owned);
    Some(Stored { offset, time, id, size: answer.payload.len(), payload: answer.payload })
}

#[derive(Deserialize)]
struct Raw {
    seq: u64,
    time: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
}

impl Raw {
    fn decode(self) -> Option<Stored> {
        let time = OffsetDateTime::parse(&self.time, &Rfc3339).ok()?;
        let payload = Bytes::from(STANDARD.decode(self.data).ok()?);
        let headers = String::from_utf8(STANDARD.decode(self.hdrs).ok()?).ok()?;
        let id = headers.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: ")).map(str::to_owned);
        Some(Stored { offset: self.seq, time, id, size: payload.len(), payload })
    }
}

async fn ask<T: DeserializeOwned>(
    link: &Link,
    what: &str,
    request: &impl Serialize,
) -> Result<Result<T, ApiError>, BackplaneError> {
    let answer = link.ask(format!("$JS.API.{what}"), HeaderMap::new(), to_json(request)?).await?.wait().await?;
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        let is_missing = !link.has_jetstream();
        return Err(if is_missing { no_jetstream() } else { BackplaneError::unavailable("JetStream does not answer") });
    }
    parse(&answer.payload)
}

fn to_json(request: &impl Serialize) -> Result<Bytes, BackplaneError> {
    serde_json::to_vec(request).map(Bytes::from).map_err(BackplaneError::refused)
}

/// An answer of JetStream's.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<Result<T, ApiError>, BackplaneError> {
    match serde_json::from_slice(payload).map_err(|_| malformed())? {
        Reply::Error { error } => Ok(Err(error)),
        Reply::Done(done) => Ok(Ok(done)),
    }
}

fn malformed() -> BackplaneError {
    BackplaneError::unavailable("an answer of JetStream's that cannot be understood")
}
