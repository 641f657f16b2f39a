//! Opens connections, and remembers properties of the servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion,
    RedisConnectionInfo, Value,
};

use crate::address::{Address, Login, Server};
use crate::names::Names;
use crate::script::Scripts;
use crate::server_error;
use crate::server_info::ServerInfo;

/// Timeout of opening a connection, name resolution and login included.
const CONNECT: Duration = Duration::from_secs(3);
/// Timeout of a reply where the caller has none of its own.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time after which the kernel probes a connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Time without acknowledgements after which the kernel closes a connection.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of connections, and the last known properties of each server.
pub(crate) struct Connector {
    pub(crate) address: Address,
    pub(crate) names: Names,
    pub(crate) keepalive: Duration,
    pub(crate) scripts: Scripts,
    known: Mutex<HashMap<Server, KnownServer>>,
}

/// The last known properties of a server, reported over any connection.
#[derive(Default)]
struct KnownServer {
    replication_id: Arc<str>,
    has_sharded_channels: Option<bool>,
}

impl Connector {
    pub(crate) fn new(address: Address, names: Names, keepalive: Duration) -> Self {
        Self { address, names, keepalive, scripts: Scripts::new(), known: Mutex::default() }
    }

    /// Opens a connection to a server and loads the scripts there; `push` receives its pushes, and `reply_timeout`
    /// applies to each reply.
    pub(crate) async fn open(
        &self,
        server: &Server,
        push: impl AsyncPushSender,
        reply_timeout: Option<Duration>,
    ) -> Result<(MultiplexedConnection, ServerInfo), String> {
        let opening = async {
            let login = login(&self.address.login, ProtocolVersion::RESP3).set_db(self.address.database);
            let mut connection = self.connect(server, login, config(reply_timeout).set_push_sender(push)).await?;
            let info = self.initialize(server, &mut connection).await?;
            Ok((connection, info))
        };
        tokio::time::timeout(CONNECT, opening)
            .await
            .unwrap_or_else(|_| Err("no connection within 3 s".to_owned()))
            .map_err(|reason| format!("{server}: {reason}"))
    }

    /// Opens a connection to a sentinel.
    pub(crate) async fn open_sentinel(
        &self,
        server: &Server,
        credentials: &Login,
    ) -> Result<MultiplexedConnection, String> {
        let login = login(credentials, ProtocolVersion::RESP2);
        tokio::time::timeout(CONNECT, self.connect(server, login, config(Some(REPLY_TIMEOUT))))
            .await
            .unwrap_or_else(|_| Err("no connection within 3 s".to_owned()))
            .map_err(|reason| format!("{server}: {reason}"))
    }

    /// The last known replication id of a server's data; empty if unknown.
    pub(crate) fn replication_id(&self, server: &Server) -> Arc<str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(server).map(|known| Arc::clone(&known.replication_id)).unwrap_or_default()
    }

    /// True if the server has sharded channels; `None` if unknown.
    pub(crate) fn has_sharded_channels(&self, server: &Server) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(server)?.has_sharded_channels
    }

    /// Sends a heartbeat: an error if the server does not answer, or is no longer a master.
    pub(crate) async fn heartbeat(
        &self,
        server: &Server,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), String> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("INFO").arg("replication");
        let replies = connection.send_packed_commands(&pipeline, 0, 1).await;
        let replies = replies.map_err(|error| server_error::of_connection(&error))?;
        // Busy with another client's script: it is alive, and its properties are those it reported before.
        if matches!(replies.first(), Some(Value::ServerError(error)) if error.code() == "BUSY") {
            return Ok(());
        }
        let info = ServerInfo::parse(&replies)?;
        self.remember(server, &info);
        if info.is_master { Ok(()) } else { Err("the server is no longer the master".to_owned()) }
    }

    /// Remembers properties that a server has reported.
    pub(crate) fn remember(&self, server: &Server, info: &ServerInfo) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(server.clone()).or_default();
        if !info.replication_id.is_empty() && *known.replication_id != *info.replication_id {
            known.replication_id = info.replication_id.as_str().into();
        }
        known.has_sharded_channels = info.has_sharded_channels.or(known.has_sharded_channels);
    }

    async fn connect(
        &self,
        server: &Server,
        login: RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, String> {
        let client =
            self.connection_info(server, login).and_then(Client::open).map_err(|e| server_error::of_connection(&e))?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| server_error::of_connection(&error))
    }

    fn connection_info(&self, server: &Server, login: RedisConnectionInfo) -> redis::RedisResult<ConnectionInfo> {
        let Server { host, port } = server.clone();
        let address = if self.address.is_tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info()?;
        Ok(info.set_tcp_settings(tcp()).set_redis_settings(login))
    }

    /// Reads the server's properties, names the connection and loads the scripts.
    async fn initialize(&self, server: &Server, connection: &mut MultiplexedConnection) -> Result<ServerInfo, String> {
        let mut pipeline = Pipeline::with_capacity(6);
        ServerInfo::request(&mut pipeline);
        // Shown by `CLIENT LIST`.
        pipeline.cmd("CLIENT").arg("SETNAME").arg("nexios");
        self.scripts.load(&mut pipeline);
        let count = pipeline.len();
        let replies = connection.send_packed_commands(&pipeline, 0, count).await;
        let replies = replies.map_err(|error| server_error::of_connection(&error))?;
        let (infos, others) = replies.split_at(ServerInfo::COMMANDS.min(replies.len()));
        let info = ServerInfo::parse(infos)?;
        let error = others.iter().find_map(|reply| match reply {
            // Other errors are ignored: a replica does not need the scripts, and the name is optional.
            Value::ServerError(error) if matches!(error.code(), "LOADING" | "NOAUTH" | "MASTERDOWN") => Some(error),
            _ => None,
        });
        if let Some(error) = error {
            return Err(server_error::text(error));
        }
        self.remember(server, &info);
        Ok(info)
    }
}

fn login(login: &Login, protocol: ProtocolVersion) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
    if let Some(user) = &login.user {
        info = info.set_username(user);
    }
    if let Some(password) = &login.password {
        info = info.set_password(password);
    }
    info
}

/// Keepalive probes prevent firewalls from silently dropping the state of idle connections.
fn tcp() -> TcpSettings {
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE_IDLE));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(USER_TIMEOUT);
    tcp
}

fn config(reply_timeout: Option<Duration>) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(reply_timeout)
}
