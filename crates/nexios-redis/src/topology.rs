//! Which servers there are, and which one has a channel.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Pipeline, Value};

use crate::address::{Address, Kind, Login, Server};
use crate::commands::Commands;
use crate::facts::Facts;
use crate::failure;
use crate::link::Link;
use crate::slots::{SlotMap, slot};

/// How long one of several may take to answer before the next is asked, the time to connect included.
const ASKING: Duration = Duration::from_secs(4);

/// How long the masters of a cluster that are silent are waited for.
const MEETING: Duration = Duration::from_secs(1);

/// Who has what, as it was when somebody was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    masters: Vec<Server>,
    slots: Option<SlotMap>,
    has_sharded_channels: bool,
}

impl Topology {
    /// The servers that can be written to.
    pub(crate) fn masters(&self) -> &[Server] {
        &self.masters
    }

    /// The server that has a channel's stream, if somebody has it.
    pub(crate) fn master(&self, channel: &str) -> Option<&Server> {
        match &self.slots {
            Some(slots) => slots.master(slot(channel)),
            None => self.masters.first(),
        }
    }

    /// Whether channels belong to slots: each is subscribed to and published at its own server.
    pub(crate) fn is_sharded(&self) -> bool {
        self.slots.is_some() && self.has_sharded_channels
    }

    /// How to publish.
    pub(crate) fn publish_command(&self) -> &'static str {
        if self.is_sharded() { "SPUBLISH" } else { "PUBLISH" }
    }
}

/// Asks whoever can know; `known` are servers that were there before.
pub(crate) async fn discover(link: &Arc<Link>, commands: &Commands, known: &[Server]) -> Result<Topology, String> {
    let Address { kind, .. } = &link.address;
    match kind {
        Kind::Server(server) => ask_any(link, commands, std::slice::from_ref(server), known).await,
        Kind::Cluster(servers) => ask_any(link, commands, servers, known).await,
        Kind::Sentinel { sentinels, master, login } => {
            let server = ask_sentinels(link, sentinels, master, login).await?;
            of_server(link, commands, &server).await
        }
    }
}

/// The first answer of several servers. Those that were named come first, in an order by chance.
async fn ask_any(link: &Link, commands: &Commands, servers: &[Server], known: &[Server]) -> Result<Topology, String> {
    let mut order: Vec<&Server> = servers.iter().collect();
    fastrand::shuffle(&mut order);
    order.extend(known.iter().filter(|server| !servers.contains(server)));
    let mut reason = String::new();
    for server in order {
        match of_server(link, commands, server).await {
            Ok(topology) => return Ok(topology),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

async fn of_server(link: &Link, commands: &Commands, server: &Server) -> Result<Topology, String> {
    let asking = tokio::time::timeout(ASKING, ask_server(link, commands, server));
    asking.await.unwrap_or_else(|_| Err(format!("{server}: no answer within 4 s")))
}

/// Asked each time anew: a master that has become a replica keeps its connections, takes what is published over them, and gives
/// it to nobody.
async fn ask_server(link: &Link, commands: &Commands, server: &Server) -> Result<Topology, String> {
    let mut pipeline = Pipeline::with_capacity(Facts::COMMANDS + 1);
    Facts::ask(&mut pipeline);
    pipeline.cmd("CLUSTER").arg("SLOTS");
    let answers = commands.ask(server, &pipeline).await?;
    let (answer, infos) = answers.split_last().ok_or_else(|| format!("{server}: no answer"))?;
    let facts = Facts::of(infos).map_err(|reason| format!("{server}: {reason}"))?;
    link.note(server, &facts);
    // One who may not ask for INFO sees it by whether there are slots.
    if !facts.is_cluster.unwrap_or(!matches!(answer, Value::ServerError(_))) {
        if !facts.is_master {
            commands.close(server);
            return Err(format!("{server}: the server is a replica"));
        }
        return Ok(Topology { masters: vec![server.clone()], slots: None, has_sharded_channels: false });
    }
    if let Value::ServerError(error) = answer {
        return Err(format!("{server}: {}", failure::text(error)));
    }
    let slots = SlotMap::parse(answer, server).ok_or_else(|| format!("{server}: the cluster has no slots"))?;
    let masters = slots.masters().to_vec();
    meet(commands, &masters).await;
    // While a cluster is brought from Redis 6 to 7, some of it has none. One who does not say is no hindrance.
    let has_sharded_channels = masters.iter().all(|master| link.has_sharded_channels(master) != Some(false));
    Ok(Topology { masters, slots: Some(slots), has_sharded_channels })
}

/// Has all masters say what they are, those that have been restarted included; who is silent is not waited for.
async fn meet(commands: &Commands, masters: &[Server]) {
    let meeting = join_all(masters.iter().map(|master| commands.connect(master)));
    // One who cannot be reached is met at the next time.
    let _ = tokio::time::timeout(MEETING, meeting).await;
}

async fn ask_sentinels(link: &Arc<Link>, sentinels: &[Server], master: &str, login: &Login) -> Result<Server, String> {
    let mut order: Vec<&Server> = sentinels.iter().collect();
    fastrand::shuffle(&mut order);
    let mut reason = String::new();
    for sentinel in order {
        match ask_sentinel(link, sentinel, master, login).await {
            Ok(server) => return Ok(server),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

async fn ask_sentinel(link: &Arc<Link>, sentinel: &Server, master: &str, login: &Login) -> Result<Server, String> {
    let mut connection = link.open_sentinel(sentinel, login).await?;
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let asking = connection.send_packed_commands(&pipeline, 0, 1);
    let answers = tokio::time::timeout(ASKING, asking)
        .await
        .map_err(|_| format!("{sentinel}: no answer within 4 s"))?
        .map_err(|error| format!("{sentinel}: {}", failure::of_connection(&error)))?;
    match answers.first() {
        Some(Value::Array(parts)) => match parts.as_slice() {
            [Value::BulkString(host), Value::BulkString(port)] => server(host, port),
            _ => None,
        }
        .ok_or_else(|| format!("{sentinel}: the answer is no address")),
        Some(Value::ServerError(error)) => Err(format!("{sentinel}: {}", failure::text(error))),
        _ => Err(format!("{sentinel}: the sentinel knows no master of that name")),
    }
}

fn server(host: &[u8], port: &[u8]) -> Option<Server> {
    let port = str::from_utf8(port).ok()?.parse().ok()?;
    Some(Server { host: str::from_utf8(host).ok()?.to_owned(), port })
}
