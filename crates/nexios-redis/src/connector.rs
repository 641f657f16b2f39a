//! Connections to a server.

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
use crate::facts::Facts;
use crate::failure;
use crate::names::Names;
use crate::script::Scripts;

/// How long it may take until a connection stands, name resolution and login included.
const OPENING: Duration = Duration::from_secs(3);
/// How long a server may take for an answer when nobody else watches the time.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// How long a connection may be silent before the kernel asks whether it is still there.
const IDLE: Duration = Duration::from_secs(15);
/// After how long the kernel gives up a connection whose other end does not confirm what it was sent.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const UNHEARD: Duration = Duration::from_secs(30);

/// How connections are made, and what is known of the servers at their other ends.
pub(crate) struct Link {
    pub(crate) address: Address,
    pub(crate) names: Names,
    pub(crate) keepalive: Duration,
    pub(crate) scripts: Scripts,
    /// What each server has said of itself.
    heard: Mutex<HashMap<Server, Heard>>,
}

/// What was last heard of a server, over whichever connection.
#[derive(Default)]
struct Heard {
    /// The replication id of its data.
    origin: Arc<str>,
    has_sharded_channels: Option<bool>,
}

impl Link {
    pub(crate) fn new(address: Address, names: Names, keepalive: Duration) -> Self {
        Self { address, names, keepalive, scripts: Scripts::new(), heard: Mutex::default() }
    }

    /// A connection to a server that has learned the scripts; `push` gets what it says unasked, and `patience` is how long any
    /// answer may take.
    pub(crate) async fn open(
        &self,
        server: &Server,
        push: impl AsyncPushSender,
        patience: Option<Duration>,
    ) -> Result<(MultiplexedConnection, Facts), String> {
        let opening = async {
            let login = self.login(&self.address.login, ProtocolVersion::RESP3).set_db(self.address.database);
            let mut connection = self.connect(server, login, config(patience).set_push_sender(push)).await?;
            let facts = self.facts(server, &mut connection).await?;
            Ok((connection, facts))
        };
        tokio::time::timeout(OPENING, opening)
            .await
            .unwrap_or_else(|_| Err("no connection within 3 s".to_owned()))
            .map_err(|reason| format!("{server}: {reason}"))
    }

    /// A connection to a sentinel.
    pub(crate) async fn open_sentinel(&self, server: &Server, login: &Login) -> Result<MultiplexedConnection, String> {
        let login = self.login(login, ProtocolVersion::RESP2);
        tokio::time::timeout(OPENING, self.connect(server, login, config(Some(ANSWER))))
            .await
            .unwrap_or_else(|_| Err("no connection within 3 s".to_owned()))
            .map_err(|reason| format!("{server}: {reason}"))
    }

    /// The replication id of a server's data, as last heard.
    pub(crate) fn origin(&self, server: &Server) -> Arc<str> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(server).map(|heard| Arc::clone(&heard.origin)).unwrap_or_default()
    }

    /// Whether a server knows sharded channels, as last heard.
    pub(crate) fn has_sharded_channels(&self, server: &Server) -> Option<bool> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(server)?.has_sharded_channels
    }

    /// What the server says of itself when it is asked again: that it is still there, and still the master.
    pub(crate) async fn check(&self, server: &Server, connection: &mut MultiplexedConnection) -> Result<(), String> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("INFO").arg("replication");
        let answers = connection.send_packed_commands(&pipeline, 0, 1).await;
        let answers = answers.map_err(|error| failure::of_connection(&error))?;
        // In the middle of somebody's script it is there, and what it is it has said before.
        if matches!(answers.first(), Some(Value::ServerError(error)) if error.code() == "BUSY") {
            return Ok(());
        }
        let facts = Facts::of(&answers)?;
        self.note(server, &facts);
        if facts.is_master { Ok(()) } else { Err("the server is no longer the master".to_owned()) }
    }

    /// Remembers what a server has said of itself.
    pub(crate) fn note(&self, server: &Server, facts: &Facts) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heard.entry(server.clone()).or_default();
        if !facts.origin.is_empty() && *known.origin != *facts.origin {
            known.origin = facts.origin.as_str().into();
        }
        known.has_sharded_channels = facts.has_sharded_channels.or(known.has_sharded_channels);
    }

    async fn connect(
        &self,
        server: &Server,
        login: RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, String> {
        let client = self.info(server, login).and_then(Client::open).map_err(|error| failure::of_connection(&error))?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| failure::of_connection(&error))
    }

    fn info(&self, server: &Server, login: RedisConnectionInfo) -> redis::RedisResult<ConnectionInfo> {
        let Server { host, port } = server.clone();
        let address = if self.address.is_tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info()?;
        Ok(info.set_tcp_settings(tcp()).set_redis_settings(login))
    }

    #[expect(clippy::unused_self, reason = "one of the steps of `open`")]
    fn login(&self, login: &Login, protocol: ProtocolVersion) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
        if let Some(user) = &login.user {
            info = info.set_username(user);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password);
        }
        info
    }

    async fn facts(&self, server: &Server, connection: &mut MultiplexedConnection) -> Result<Facts, String> {
        let mut pipeline = Pipeline::with_capacity(6);
        Facts::ask(&mut pipeline);
        // For whoever looks at `CLIENT LIST`.
        pipeline.cmd("CLIENT").arg("SETNAME").arg("nexios");
        self.scripts.load(&mut pipeline);
        let count = pipeline.len();
        let answers = connection.send_packed_commands(&pipeline, 0, count).await;
        let answers = answers.map_err(|error| failure::of_connection(&error))?;
        let (infos, others) = answers.split_at(Facts::COMMANDS.min(answers.len()));
        let facts = Facts::of(infos)?;
        let error = others.iter().find_map(|answer| match answer {
            // A replica does not need the scripts, and who may not set a name gets along.
            Value::ServerError(error) if matches!(error.code(), "LOADING" | "NOAUTH" | "MASTERDOWN") => Some(error),
            _ => None,
        });
        if let Some(error) = error {
            return Err(failure::text(error));
        }
        self.note(server, &facts);
        Ok(facts)
    }
}

/// With signs of life where nothing is said: what stands between the two forgets a connection that is silent, and does not tell.
fn tcp() -> TcpSettings {
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(TcpKeepalive::new().with_time(IDLE));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(UNHEARD);
    tcp
}

fn config(patience: Option<Duration>) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(OPENING)).set_response_timeout(patience)
}
