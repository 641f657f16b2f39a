//! A batch of messages on its way to the servers.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use nexios::Position;
use nexios::backplane::{BackplaneError, Keep, MessageId, Outgoing, Place};
use redis::{Cmd, Pipeline, Value};

use crate::address::Server;
use crate::engine::Engine;
use crate::failure;
use crate::names;
use crate::script::Attempt;
use crate::topology::Topology;

/// The most messages that one call of the script appends: the server does nothing else meanwhile.
const MESSAGES: usize = 64;
/// The most bytes of one call's payloads, if it has more than one.
const BYTES: usize = 256 * 1024;

/// How long one of several servers may take.
const PART: Duration = Duration::from_secs(1);

/// What became of a message.
pub(crate) type Outcome = Result<Option<Place>, BackplaneError>;

/// Publishes messages in their order, each server's in one round trip.
pub(crate) async fn publish(engine: &Engine, messages: &[Outgoing]) -> Vec<Outcome> {
    let topology = match engine.topology().await {
        Ok(topology) => topology,
        Err(reason) => return messages.iter().map(|_| Err(BackplaneError::unavailable(reason.clone()))).collect(),
    };
    let batch = Batch { engine, topology: &topology, messages };
    let plan = batch.plan();
    // For one alone the node watches the time.
    let patience = if plan.len() > 1 { PART } else { Duration::MAX };
    let outcomes = join_all(plan.into_iter().map(|(server, calls)| batch.run_within(patience, server, calls))).await;
    let mut by_index: Vec<Option<Outcome>> = messages.iter().map(|_| None).collect();
    for (index, outcome) in outcomes.into_iter().flatten() {
        by_index[index] = Some(outcome);
    }
    let nobody = || Err(BackplaneError::unavailable("no server has the channel's slot"));
    by_index.into_iter().map(|outcome| outcome.unwrap_or_else(nobody)).collect()
}

struct Batch<'a> {
    engine: &'a Engine,
    topology: &'a Topology,
    messages: &'a [Outgoing],
}

/// One command: a message that is not kept, or some of one node and channel that are.
struct Call {
    /// Indexes of messages.
    messages: Vec<usize>,
    keep: Option<Keep>,
    bytes: usize,
    /// The number of the message that must be appended before: 0 when the batch has none.
    after: u64,
}

/// Calls that a server has not done.
#[derive(Default)]
struct Left {
    /// It has forgotten the script, or what is before them is missing.
    again: Vec<Call>,
    /// Their slots are on the way to these servers.
    moving: Vec<(Server, Call)>,
}

impl<'a> Batch<'a> {
    /// Which commands each server gets. Those of one channel are in the order of its messages.
    fn plan(&self) -> HashMap<&'a Server, Vec<Call>> {
        let mut plan: HashMap<&Server, Vec<Call>> = HashMap::new();
        // Of each channel the last call, if another message fits in, and the last kept message.
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

    /// Does not wait for a server that is silent: the others' answers would be lost with the call.
    async fn run_within(&self, patience: Duration, server: &Server, calls: Vec<Call>) -> Vec<(usize, Outcome)> {
        let indexes: Vec<usize> = calls.iter().flat_map(|call| &call.messages).copied().collect();
        let running = tokio::time::timeout(patience, self.run(server, calls));
        running.await.unwrap_or_else(|_| {
            self.engine.rediscover();
            let silent = || BackplaneError::unavailable(format!("{server}: no answer within 1 s"));
            indexes.into_iter().map(|index| (index, Err(silent()))).collect()
        })
    }

    /// Sends a server's calls, those whose script it has forgotten once more, and those whose slot is on its way to another
    /// server there.
    async fn run(&self, server: &Server, calls: Vec<Call>) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(self.messages.len());
        let Left { again, mut moving } = self.send(server, calls, Attempt::First, &mut outcomes).await;
        if !again.is_empty() {
            let left = self.send(server, again, Attempt::WithScripts, &mut outcomes).await;
            moving.extend(left.moving);
        }
        let mut targets: HashMap<Server, Vec<Call>> = HashMap::new();
        for (target, call) in moving {
            targets.entry(target).or_default().push(call);
        }
        for (target, calls) in targets {
            let mut moved = Vec::new();
            self.send(&target, calls, Attempt::Asking, &mut moved).await;
            if self.topology.is_sharded() {
                self.repeat(server, &mut moved).await;
            }
            outcomes.extend(moved);
        }
        outcomes
    }

    async fn send(
        &self,
        server: &Server,
        calls: Vec<Call>,
        attempt: Attempt,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) -> Left {
        let mut left = Left::default();
        let commands = calls.iter().map(|call| self.command(server, call));
        let pipeline = self.engine.link.scripts.pipeline(attempt, commands);
        let answers = match self.engine.commands.ask(server, &pipeline).await {
            Ok(answers) => answers,
            Err(reason) => {
                self.engine.rediscover();
                let failed = |index| (index, Err(BackplaneError::unavailable(reason.clone())));
                outcomes.extend(calls.into_iter().flat_map(|call| call.messages).map(failed));
                return left;
            }
        };
        let mut is_elsewhere = false;
        for (call, answer) in calls.into_iter().zip(attempt.answers(answers)) {
            let Value::ServerError(error) = answer else {
                outcomes.extend(call.outcomes(&answer));
                continue;
            };
            if failure::is_unknown_script(&error) && attempt == Attempt::First {
                left.again.push(call);
            } else if attempt != Attempt::Asking
                && let Some(target) = failure::moving_to(&error, server)
            {
                left.moving.push((target, call));
            } else {
                is_elsewhere |= failure::is_elsewhere(&error);
                let failed = |index| (index, Err(failure::of_message(&error)));
                outcomes.extend(call.messages.into_iter().map(failed));
            }
        }
        if is_elsewhere {
            self.engine.commands.close(server);
            self.engine.rediscover();
        }
        left
    }

    /// Publishes what was appended at the target of a slot that moves once more where the slot comes from: until it has moved,
    /// its subscribers are there.
    async fn repeat(&self, source: &Server, outcomes: &mut [(usize, Outcome)]) {
        let mut pipeline = Pipeline::new();
        let mut repeated = Vec::new();
        for (index, outcome) in outcomes {
            if let (Ok(Some(place)), Some(message)) = (&*outcome, self.messages.get(*index)) {
                let name = self.engine.link.names.full(message.channel.as_str());
                pipeline.cmd("SPUBLISH").arg(name).arg(names::kept(place.position, &message.payload));
                repeated.push(outcome);
            }
        }
        if repeated.is_empty() {
            return;
        }
        match self.engine.commands.ask(source, &pipeline).await {
            Ok(answers) => {
                for (outcome, answer) in repeated.into_iter().zip(answers) {
                    match answer {
                        // Nobody is here any more, and whoever was is told of a gap.
                        Value::ServerError(error) if error.code() == "MOVED" => self.engine.rediscover(),
                        Value::ServerError(error) => *outcome = Err(BackplaneError::unavailable(failure::text(&error))),
                        _ => {}
                    }
                }
            }
            Err(reason) => {
                self.engine.rediscover();
                for outcome in repeated {
                    *outcome = Err(BackplaneError::unavailable(reason.clone()));
                }
            }
        }
    }

    fn command(&self, server: &Server, call: &Call) -> Cmd {
        let messages = || call.messages.iter().filter_map(|index| self.messages.get(*index));
        let key = messages().next().map(|message| self.engine.link.names.full(message.channel.as_str()));
        let key = key.unwrap_or_default();
        let Some(keep) = call.keep else {
            let mut command = Cmd::with_capacity(3, call.bytes + key.len() + 64);
            command.arg(self.topology.publish_command()).arg(key);
            messages().for_each(|message| {
                command.arg(names::plain(&message.payload));
            });
            return command;
        };
        let mut command = self.engine.link.scripts.append(&key, call.bytes + 32 * call.messages.len());
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
    fn outcomes(self, answer: &Value) -> Vec<(usize, Outcome)> {
        if self.keep.is_none() {
            return self.messages.into_iter().map(|index| (index, Ok(None))).collect();
        }
        let places = places(answer).filter(|places| places.len() == self.messages.len());
        let Some(places) = places else {
            let failed = |index| (index, Err(BackplaneError::unavailable("the script's answer is malformed")));
            return self.messages.into_iter().map(failed).collect();
        };
        self.messages.into_iter().zip(places).map(|(index, place)| (index, Ok(place))).collect()
    }
}

/// The script's answer: the epoch and the offsets.
fn places(answer: &Value) -> Option<Vec<Option<Place>>> {
    let Value::Array(values) = answer else { return None };
    let (Value::BulkString(epoch), offsets) = values.split_first()? else { return None };
    let epoch = names::hex(epoch)?;
    let place = |value: &Value| match value {
        Value::Int(offset) => {
            let offset = u64::try_from(*offset).ok()?;
            // 0: a double, and the first one is no longer kept.
            let place = |previous| Place { position: Position::new(epoch, offset), previous };
            Some(offset.checked_sub(1).map(place))
        }
        _ => None,
    };
    offsets.iter().map(place).collect()
}
