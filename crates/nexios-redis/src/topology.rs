//! Discovery of the servers, and of the server of each channel.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Pipeline, Value};

use crate::address::{Address, Kind, Login, Server};
use crate::command_connections::CommandConnections;
use crate::connector::Connector;
use crate::server_error;
use crate::server_info::ServerInfo;
use crate::slots::{SlotMap, slot};

/// Timeout of one server's reply, the time to connect included, before the next server is asked.
const REQUEST: Duration = Duration::from_secs(4);

/// Timeout of connecting to all masters of a cluster.
const CONNECT_ALL: Duration = Duration::from_secs(1);

/// The servers and their slots at the time of a discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    masters: Vec<Server>,
    slots: Option<SlotMap>,
    has_sharded_channels: bool,
}

impl Topology {
    /// The servers that accept writes.
    pub(crate) fn masters(&self) -> &[Server] {
        &self.masters
    }

    /// The server of a channel's stream; `None` if no server has its slot.
    pub(crate) fn master(&self, channel: &str) -> Option<&Server> {
        match &self.slots {
            Some(slots) => slots.master(slot(channel)),
            None => self.masters.first(),
        }
    }

    /// Returns true for sharded channels, which are subscribed to and published at the master of their slot.
    pub(crate) fn is_sharded(&self) -> bool {
        self.slots.is_some() && self.has_sharded_channels
    }

    /// The command that publishes.
    pub(crate) fn publish_command(&self) -> &'static str {
        if self.is_sharded() { "SPUBLISH" } else { "PUBLISH" }
    }
}

/// Discovers the topology; `known` are the masters of the previous one.
pub(crate) async fn discover(
    connector: &Arc<Connector>,
    commands: &CommandConnections,
    known: &[Server],
) -> Result<Topology, String> {
    let Address { kind, .. } = &connector.address;
    match kind {
        Kind::Server(server) => ask_any(connector, commands, std::slice::from_ref(server), known).await,
        Kind::Cluster(servers) => ask_any(connector, commands, servers, known).await,
        Kind::Sentinel { sentinels, master, login } => {
            let server = ask_sentinels(connector, sentinels, master, login).await?;
            ask_server(connector, commands, &server).await
        }
    }
}

/// The first reply of several servers: the configured ones in random order, then the known ones.
async fn ask_any(
    connector: &Connector,
    commands: &CommandConnections,
    servers: &[Server],
    known: &[Server],
) -> Result<Topology, String> {
    let mut order: Vec<&Server> = servers.iter().collect();
    fastrand::shuffle(&mut order);
    order.extend(known.iter().filter(|server| !servers.contains(server)));
    let mut reason = String::new();
    for server in order {
        match ask_server(connector, commands, server).await {
            Ok(topology) => return Ok(topology),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

async fn ask_server(connector: &Connector, commands: &CommandConnections, server: &Server) -> Result<Topology, String> {
    let request = tokio::time::timeout(REQUEST, request_topology(connector, commands, server));
    request.await.unwrap_or_else(|_| Err(format!("{server}: no reply within 4 s")))
}

/// Reads `INFO` each time: a master that has become a replica keeps its connections, and accepts publishes that reach
/// no subscriber of the new master.
async fn request_topology(
    connector: &Connector,
    commands: &CommandConnections,
    server: &Server,
) -> Result<Topology, String> {
    let mut pipeline = Pipeline::with_capacity(ServerInfo::COMMANDS + 1);
    ServerInfo::request(&mut pipeline);
    pipeline.cmd("CLUSTER").arg("SLOTS");
    let replies = commands.request(server, &pipeline).await?;
    let (slots, infos) = replies.split_last().ok_or_else(|| format!("{server}: no reply"))?;
    let info = ServerInfo::parse(infos).map_err(|reason| format!("{server}: {reason}"))?;
    connector.remember(server, &info);
    // Without the permission for INFO, the presence of slots decides.
    if !info.is_cluster.unwrap_or(!matches!(slots, Value::ServerError(_))) {
        if !info.is_master {
            commands.close(server);
            return Err(format!("{server}: the server is a replica"));
        }
        return Ok(Topology { masters: vec![server.clone()], slots: None, has_sharded_channels: false });
    }
    if let Value::ServerError(error) = slots {
        return Err(format!("{server}: {}", server_error::text(error)));
    }
    let slots = SlotMap::parse(slots, server).ok_or_else(|| format!("{server}: the cluster has no slots"))?;
    let masters = slots.masters().to_vec();
    connect_all(commands, &masters).await;
    // During an upgrade from Redis 6 to 7, some masters have none. A master that does not report its version is
    // ignored.
    let has_sharded_channels = masters.iter().all(|master| connector.has_sharded_channels(master) != Some(false));
    Ok(Topology { masters, slots: Some(slots), has_sharded_channels })
}

/// Connects to all masters, restarted ones included, which reads their properties.
async fn connect_all(commands: &CommandConnections, masters: &[Server]) {
    let connecting = join_all(masters.iter().map(|master| commands.connect(master)));
    // The next discovery retries unreachable ones.
    let _ = tokio::time::timeout(CONNECT_ALL, connecting).await;
}

async fn ask_sentinels(
    connector: &Arc<Connector>,
    sentinels: &[Server],
    master: &str,
    login: &Login,
) -> Result<Server, String> {
    let mut order: Vec<&Server> = sentinels.iter().collect();
    fastrand::shuffle(&mut order);
    let mut reason = String::new();
    for sentinel in order {
        match ask_sentinel(connector, sentinel, master, login).await {
            Ok(server) => return Ok(server),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

async fn ask_sentinel(
    connector: &Arc<Connector>,
    sentinel: &Server,
    master: &str,
    login: &Login,
) -> Result<Server, String> {
    let mut connection = connector.open_sentinel(sentinel, login).await?;
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let request = connection.send_packed_commands(&pipeline, 0, 1);
    let replies = tokio::time::timeout(REQUEST, request)
        .await
        .map_err(|_| format!("{sentinel}: no reply within 4 s"))?
        .map_err(|error| format!("{sentinel}: {}", server_error::of_connection(&error)))?;
    match replies.first() {
        Some(Value::Array(parts)) => match parts.as_slice() {
            [Value::BulkString(host), Value::BulkString(port)] => server(host, port),
            _ => None,
        }
        .ok_or_else(|| format!("{sentinel}: the reply is not an address")),
        Some(Value::ServerError(error)) => Err(format!("{sentinel}: {}", server_error::text(error))),
        _ => Err(format!("{sentinel}: the sentinel knows no master with that name")),
    }
}

fn server(host: &[u8], port: &[u8]) -> Option<Server> {
    let port = str::from_utf8(port).ok()?.parse().ok()?;
    Some(Server { host: str::from_utf8(host).ok()?.to_owned(), port })
}
