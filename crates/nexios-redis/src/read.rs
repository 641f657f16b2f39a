//! Reads the history of a channel.

use std::time::Duration;

use bytes::Bytes;
use nexios::Position;
use nexios::backplane::{BackplaneError, Channel, Keep, Kept, Page};
use nexios::groups::NotRecovered;
use redis::{Cmd, Value};

use crate::address::Server;
use crate::engine::Engine;
use crate::names::{decimal, hex};
use crate::script::Attempt;
use crate::server_error;

/// Reads the kept messages behind a position.
pub(crate) async fn read(
    engine: &Engine,
    channel: &Channel,
    keep: Keep,
    since: Option<Position>,
) -> Result<Page, BackplaneError> {
    let topology = engine.topology().await.map_err(BackplaneError::unavailable)?;
    let server = topology.master(channel.as_str());
    let server = server.ok_or_else(|| BackplaneError::unavailable("no server has the channel's slot"))?;
    let call = Call { engine, channel, keep, since };
    let mut reply = call.send(server, Attempt::First).await?;
    if matches!(&reply, Some(Value::ServerError(error)) if server_error::is_unknown_script(error)) {
        reply = call.send(server, Attempt::WithScripts).await?;
    }
    if let Some(Value::ServerError(error)) = &reply
        && let Some(target) = server_error::ask_redirect(error, server)
    {
        reply = call.send(&target, Attempt::Asking).await?;
    }
    match reply {
        Some(Value::ServerError(error)) => {
            if server_error::needs_rediscovery(&error) {
                engine.commands.close(server);
                engine.rediscover();
            }
            Err(BackplaneError::unavailable(server_error::text(&error)))
        }
        Some(Value::Array(values)) => page(values).ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

struct Call<'a> {
    engine: &'a Engine,
    channel: &'a Channel,
    keep: Keep,
    since: Option<Position>,
}

impl Call<'_> {
    async fn send(&self, server: &Server, attempt: Attempt) -> Result<Option<Value>, BackplaneError> {
        let Self { engine, .. } = self;
        let pipeline = engine.connector.scripts.pipeline(attempt, [self.command(server)]);
        let replies = engine.commands.request(server, &pipeline).await;
        let replies = replies.inspect_err(|_| engine.rediscover()).map_err(BackplaneError::unavailable)?;
        Ok(attempt.call_replies(replies).next())
    }

    fn command(&self, server: &Server) -> Cmd {
        let connector = &self.engine.connector;
        let mut command = connector.scripts.read(&connector.names.full(self.channel.as_str()));
        self.engine.stream_arguments(&mut command, server, self.keep);
        match self.since {
            Some(position) => command.arg(format!("{:016x}", position.epoch())).arg(position.offset()),
            None => command.arg("").arg(0),
        };
        command
    }
}

fn malformed() -> BackplaneError {
    BackplaneError::unavailable("the script's reply is malformed")
}

fn page(values: Vec<Value>) -> Option<Page> {
    let mut values = values.into_iter();
    let epoch = hex(&bytes(values.next()?)?)?;
    let last = number(&values.next()?)?;
    let floor = number(&values.next()?)?;
    let missing = match bytes(values.next()?)?.as_slice() {
        b"" => None,
        b"epoch" => Some(NotRecovered::EpochChanged),
        _ => Some(NotRecovered::Trimmed),
    };
    let now = number(&values.next()?)?;
    let messages = values
        .zip(floor + 1..)
        .map(|(entry, offset)| {
            let (time, payload) = entry_parts(bytes(entry)?)?;
            let age = Duration::from_millis(now.saturating_sub(time));
            Some(Kept { position: Position::new(epoch, offset), age, payload })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Page { end: Position::new(epoch, last), messages, floor, missing })
}

/// Parses an entry, `time node number payload`, into its time and payload.
fn entry_parts(entry: Vec<u8>) -> Option<(u64, Bytes)> {
    let mut words = entry.splitn(4, |byte| *byte == b' ');
    let time = decimal(words.next()?)?;
    let payload = words.nth(2)?.len();
    let start = entry.len() - payload;
    Some((time, Bytes::from(entry).slice(start..)))
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
