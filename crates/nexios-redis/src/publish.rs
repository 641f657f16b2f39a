//! Publishes a batch of messages.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, MessageId, Outgoing, Place};
use redis::{Cmd, Pipeline, Value};

use crate::address::Server;
use crate::engine::Engine;
use crate::names;
use crate::script::Attempt;
use crate::server_error;
use crate::topology::Topology;

/// Maximum number of messages that one call of the script appends: it blocks the server.
const MESSAGES: usize = 64;
/// Maximum number of payload bytes of one call with several messages.
const BYTES: usize = 256 * 1024;

/// Timeout of one of several servers.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);

/// The result of publishing one message.
pub(crate) type Outcome = Result<Option<Place>, BackplaneError>;

/// Publishes messages in their order, each server's in one round trip.
pub(crate) async fn publish(engine: &Engine, messages: &[Outgoing]) -> Vec<Outcome> {
    let topology = match engine.topology().await {
        Ok(topology) => topology,
        Err(reason) => return messages.iter().map(|_| Err(BackplaneError::unavailable(reason.clone()))).collect(),
    };
    let batch = Batch { engine, topology: &topology, messages };
    let plan = batch.plan();
    // With one server alone, the node's own timeout applies.
    let timeout = if plan.len() > 1 { SERVER_TIMEOUT } else { Duration::MAX };
    let outcomes = join_all(plan.into_iter().map(|(server, calls)| batch.run_within(timeout, server, calls))).await;
    let mut by_index: Vec<Option<Outcome>> = messages.iter().map(|_| None).collect();
    for (index, outcome) in outcomes.into_iter().flatten() {
        by_index[index] = Some(outcome);
    }
    let no_server = || Err(BackplaneError::unavailable("no server has the channel's slot"));
    by_index.into_iter().map(|outcome| outcome.unwrap_or_else(no_server)).collect()
}

struct Batch<'a> {
    engine: &'a Engine,
    topology: &'a Topology,
    messages: &'a [Outgoing],
}

/// One command: a message that is not kept, or kept messages of one node and channel.
struct Call {
    /// Indexes of messages.
    messages: Vec<usize>,
    keep: Option<Keep>,
    bytes: usize,
    /// The number of the message that must be appended before; 0 if the batch has none.
    after: u64,
}

/// Calls that must be sent again.
#[derive(Default)]
struct Unfinished {
    /// To the same server, which has lost the script, or lacks their predecessors.
    again: Vec<Call>,
    /// To the servers to which their slots migrate.
    migrating: Vec<(Server, Call)>,
}

impl<'a> Batch<'a> {
    /// The commands for each server. Those of one channel are in the order of its messages.
    fn plan(&self) -> HashMap<&'a Server, Vec<Call>> {
        let mut plan: HashMap<&Server, Vec<Call>> = HashMap::new();
        // For each channel the last call, if it can take another message, and the last kept message.
        let mut last: HashMap<&str, (Option<usize>, Option<MessageId>)> = HashMap::new();
        for (index, message) in self.messages.iter().enumerate() {
            let channel = message.channel.as_str();
            let Some(server) = self.topology.master(channel) else { continue };
            let calls = plan.entry(server).or_default();
            let (open, previous) = last.entry(channel).or_default();
            let same_node = previous.filter(|previous| previous.node == message.id.node);
            let size = message.payload.len();
            if let (Some(_), Some(at)) = (message.keep, *open)
                && let Some(call) = calls.get_mut(at)
                && call.keep == message.keep
                && same_node.is_some()
                && call.messages.len() < MESSAGES
                && call.bytes + size <= BYTES
            {
                call.messages.push(index);
                call.bytes += size;
            } else {
                *open = message.keep.map(|_| calls.len());
                let after = same_node.map_or(0, |previous| previous.number);
                calls.push(Call { messages: vec![index], keep: message.keep, bytes: size, after });
            }
            if message.keep.is_some() {
                *previous = Some(message.id);
            }
        }
        plan
    }

    /// Fails the calls of a silent server, because the replies of the others would be lost with a timeout of the node.
    async fn run_within(&self, timeout: Duration, server: &Server, calls: Vec<Call>) -> Vec<(usize, Outcome)> {
        let indexes: Vec<usize> = calls.iter().flat_map(|call| &call.messages).copied().collect();
        let running = tokio::time::timeout(timeout, self.run(server, calls));
        running.await.unwrap_or_else(|_| {
            self.engine.rediscover();
            let silent = || BackplaneError::unavailable(format!("{server}: no reply within 1 s"));
            indexes.into_iter().map(|index| (index, Err(silent()))).collect()
        })
    }

    /// Sends a server's calls, repeats those whose script it has lost, and sends those whose slots migrate to the
    /// target.
    async fn run(&self, server: &Server, calls: Vec<Call>) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(self.messages.len());
        let Unfinished { again, mut migrating } = self.send(server, calls, Attempt::First, &mut outcomes).await;
        if !again.is_empty() {
            let unfinished = self.send(server, again, Attempt::WithScripts, &mut outcomes).await;
            migrating.extend(unfinished.migrating);
        }
        let mut targets: HashMap<Server, Vec<Call>> = HashMap::new();
        for (target, call) in migrating {
            targets.entry(target).or_default().push(call);
        }
        for (target, calls) in targets {
            let mut migrated = Vec::new();
            self.send(&target, calls, Attempt::Asking, &mut migrated).await;
            if self.topology.is_sharded() {
                self.publish_at_source(server, &mut migrated).await;
            }
            outcomes.extend(migrated);
        }
        outcomes
    }

    async fn send(
        &self,
        server: &Server,
        calls: Vec<Call>,
        attempt: Attempt,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) -> Unfinished {
        let mut unfinished = Unfinished::default();
        let commands = calls.iter().map(|call| self.command(server, call));
        let pipeline = self.engine.connector.scripts.pipeline(attempt, commands);
        let replies = match self.engine.commands.request(server, &pipeline).await {
            Ok(replies) => replies,
            Err(reason) => {
                self.engine.rediscover();
                let failed = |index| (index, Err(BackplaneError::unavailable(reason.clone())));
                outcomes.extend(calls.into_iter().flat_map(|call| call.messages).map(failed));
                return unfinished;
            }
        };
        let mut needs_rediscovery = false;
        for (call, reply) in calls.into_iter().zip(attempt.call_replies(replies)) {
            let Value::ServerError(error) = reply else {
                outcomes.extend(call.outcomes(&reply));
                continue;
            };
            if server_error::is_unknown_script(&error) && attempt == Attempt::First {
                unfinished.again.push(call);
            } else if attempt != Attempt::Asking
                && let Some(target) = server_error::ask_redirect(&error, server)
            {
                unfinished.migrating.push((target, call));
            } else {
                needs_rediscovery |= server_error::needs_rediscovery(&error);
                let failed = |index| (index, Err(server_error::publish_error(&error)));
                outcomes.extend(call.messages.into_iter().map(failed));
            }
        }
        if needs_rediscovery {
            self.engine.commands.close(server);
            self.engine.rediscover();
        }
        unfinished
    }

    /// Publishes messages that were appended at the target of a migrating slot at its source as well: the subscribers
    /// are there until the migration ends.
    async fn publish_at_source(&self, source: &Server, outcomes: &mut [(usize, Outcome)]) {
        let mut pipeline = Pipeline::new();
        let mut published = Vec::new();
        for (index, outcome) in outcomes {
            if let (Ok(Some(place)), Some(message)) = (&*outcome, self.messages.get(*index)) {
                let name = self.engine.connector.names.full(message.channel.as_str());
                pipeline.cmd("SPUBLISH").arg(name).arg(names::kept(place.position, &message.payload));
                published.push(outcome);
            }
        }
        if published.is_empty() {
            return;
        }
        match self.engine.commands.request(source, &pipeline).await {
            Ok(replies) => {
                for (outcome, reply) in published.into_iter().zip(replies) {
                    match reply {
                        // The migration has ended, and with it the subscriptions here: their nodes get a gap notice.
                        Value::ServerError(error) if error.code() == "MOVED" => self.engine.rediscover(),
                        Value::ServerError(error) => {
                            *outcome = Err(BackplaneError::unavailable(server_error::text(&error)));
                        }
                        _ => {}
                    }
                }
            }
            Err(reason) => {
                self.engine.rediscover();
                for outcome in published {
                    *outcome = Err(BackplaneError::unavailable(reason.clone()));
                }
            }
        }
    }

    fn command(&self, server: &Server, call: &Call) -> Cmd {
        let messages = || call.messages.iter().filter_map(|index| self.messages.get(*index));
        let key = messages().next().map(|message| self.engine.connector.names.full(message.channel.as_str()));
        let key = key.unwrap_or_default();
        let Some(keep) = call.keep else {
            let mut command = Cmd::with_capacity(3, call.bytes + key.len() + 64);
            command.arg(self.topology.publish_command()).arg(key);
            messages().for_each(|message| {
                command.arg(names::plain(&message.payload));
            });
            return command;
        };
        let mut command = self.engine.connector.scripts.append(&key, call.bytes + 32 * call.messages.len());
        self.engine.stream_arguments(&mut command, server, keep);
        let node = messages().next().map(|message| message.id.node.to_string()).unwrap_or_default();
        command.arg(node).arg(call.after).arg(self.topology.publish_command());
        for message in messages() {
            command.arg(message.id.number).arg(&message.payload[..]);
        }
        command
    }
}

impl Call {
    fn outcomes(self, reply: &Value) -> Vec<(usize, Outcome)> {
        if self.keep.is_none() {
            return self.messages.into_iter().map(|index| (index, Ok(None))).collect();
        }
        let places = places(reply).filter(|places| places.len() == self.messages.len());
        let Some(places) = places else {
            let failed = |index| (index, Err(BackplaneError::unavailable("the script's reply is malformed")));
            return self.messages.into_iter().map(failed).collect();
        };
        self.messages.into_iter().zip(places).map(|(index, place)| (index, Ok(place))).collect()
    }
}

/// Parses the script's reply: the epoch and the offsets.
fn places(reply: &Value) -> Option<Vec<Option<Place>>> {
    let Value::Array(values) = reply else { return None };
    let (Value::BulkString(epoch), offsets) = values.split_first()? else { return None };
    let epoch = names::hex(epoch)?;
    let place = |value: &Value| match value {
        Value::Int(offset) => {
            let offset = u64::try_from(*offset).ok()?;
            // 0: a duplicate of a message that is no longer kept.
            let place = |previous| Place { position: Position::new(epoch, offset), previous };
            Some(offset.checked_sub(1).map(place))
        }
        _ => None,
    };
    offsets.iter().map(place).collect()
}
