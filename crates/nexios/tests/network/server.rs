//! The process that is tested.

use std::net::SocketAddr;
use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use nexios::prelude::*;
use nexios::{Rate, ServerConfig};

use crate::child::{Child, this_binary};
use crate::waiting::{PATIENCE, wait_until};

/// Words of the form `name=number`; without it this binary is no server.
const OPTIONS: &str = "NEXIOS_NETWORK_SERVER";
pub(crate) const ROLE: &str = "server::serves_in_a_process_of_its_own";

/// A server in a process of its own.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it on a free port of the loopback interface.
    pub(crate) fn start(options: &str) -> Self {
        Self::run(&mut Self::command(options))
    }

    pub(crate) fn command(options: &str) -> Command {
        let mut command = this_binary(ROLE);
        command.env(OPTIONS, options).env("NEXIOS_HOST", "127.0.0.1").env("NEXIOS_PORT", "0");
        command
    }

    /// Starts it and waits until it listens.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = Child::start(command);
        // "http://127.0.0.1:8000 with 2 workers"
        let line = child.line("listens on http://");
        let mut words = line.split_once("http://").unwrap().1.split(' ');
        let address = words.next().unwrap().parse::<SocketAddr>().unwrap();
        let workers = words.nth(1).unwrap().parse::<usize>().unwrap();
        // From then on its descriptors can be counted.
        wait_until(PATIENCE, "its workers are there", || child.threads("nexios-worker") == workers);
        Self { child, address }
    }
}

impl Deref for Server {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

#[test]
fn serves_in_a_process_of_its_own() {
    if let Ok(options) = std::env::var(OPTIONS) {
        app(&Options(options)).run().unwrap();
    }
}

struct Options(String);

impl Options {
    fn number(&self, name: &str) -> Option<u64> {
        let pairs = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.parse().unwrap()).next()
    }

    fn millis(&self, name: &str, default: Duration) -> Duration {
        self.number(name).map_or(default, Duration::from_millis)
    }
}

fn app(options: &Options) -> App {
    let config = Config::new()
        .compression(Compression::shared())
        .handshake_timeout(options.millis("handshake_timeout", Duration::from_secs(10)))
        .ping_interval(options.millis("ping_interval", Duration::from_secs(20)))
        .ping_timeout(options.millis("ping_timeout", Duration::from_secs(20)));
    let mut server = ServerConfig::new()
        .drain_deadline(options.millis("drain_deadline", Duration::from_secs(10)))
        .drain_delay(options.millis("drain_delay", Duration::ZERO))
        .trusted_proxies(["127.0.0.1"])
        .reuse_port(options.number("reuse_port") == Some(1));
    let number = |name| options.number(name).map(|n| usize::try_from(n).unwrap());
    if let Some(bytes) = number("buffered_bytes") {
        server = server.buffered_bytes(bytes);
    }
    if let Some(n) = number("connections") {
        server = server.connections(n);
    }
    if let Some(n) = number("connections_per_address") {
        server = server.connections_per_address(n);
    }
    if let Some(n) = options.number("accept_rate") {
        server = server.accept_rate(Rate::per_second(n.try_into().unwrap()));
    }
    // Nobody is waited for: who is gone has left at once.
    let groups = GroupsConfig::new().each(GroupConfig::new().grace(Duration::ZERO));
    App::new()
        .config(config)
        .groups_config(groups)
        .server_config(server)
        .websocket_route("/echo", echo)
        .health_checks()
        .websocket_route("/chat", chat)
        .websocket_route("/who", who)
        .websocket_route("/room", room)
        .websocket_route("/flood", flood)
        .websocket_route("/feed", feed)
        .websocket_route("/publish", publish)
        .websocket_route("/stuck", stuck)
}

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

/// The same with a subprotocol.
async fn chat(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept_with(Accept::new().subprotocol("chat")).await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

/// Tells its client's address.
async fn who(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let address = websocket.client_ip().map(|address| address.to_string());
    websocket.send_text(address.unwrap_or_default()).await
}

/// `/room?user=NAME`: all hear what one says, who comes and goes, and how each one ended.
async fn room(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let user = websocket.query_params().get("user").unwrap_or_default().to_owned();
    let room = groups.group("room");
    room.join_with(&websocket, Join::new().user(&user).notices()).await?;
    loop {
        match websocket.receive_text().await {
            Ok(text) => room.send_text(text).await?,
            Err(Error::Disconnect(end)) => {
                return room.send_text(format!("{user} ended: {:?}", end.cause())).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// More for all in the room than the kernel's buffers take.
async fn flood(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("room").send_text("x".repeat(700_000)).await?;
    groups.group("room").send_text("x".repeat(300_000)).await
}

/// Hears what is published.
async fn feed(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("feed").join(&websocket).await?;
    websocket.send_text("joined").await?;
    loop {
        websocket.receive().await?;
    }
}

/// Publishes what it is told, and says that it has.
async fn publish(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let feed = groups.group("feed");
    loop {
        let text = websocket.receive_text().await?;
        feed.send_text(&*text).await?;
        websocket.send_text(text).await?;
    }
}

/// A handler that no close ends.
async fn stuck(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    std::future::pending().await
}
