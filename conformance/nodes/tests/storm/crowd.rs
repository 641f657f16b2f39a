//! The clients, the publishers, and the course of a storm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexios::client::Connect;
use nexios::{Config, WebSocket};
use nexios_nodes::Command;
use serde_json::Value;

use crate::check::{Because, Stream, check};
use crate::client::{Client, PATIENCE};
use crate::ledger::{Ledger, SETTLED};
use crate::publisher::publish;

const CLIENTS: usize = 300;
const PUBLISHERS: usize = 6;
const GROUPS: [&str; 6] = ["h1", "h2", "h *.>[a]", "p1", "p2", "p *.>[a]"];

/// The nodes that a storm runs against.
pub(crate) trait Nodes: Send + 'static {
    fn name(&self) -> &'static str;

    /// Where the nodes listen.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// Does one thing to a node or the engine, for a while, and repairs it. `turn` counts up.
    fn disturb(&mut self, turn: usize, ledger: &Ledger, random: &mut fastrand::Rng);

    /// Kills a node for good, where that can be.
    fn kill(&mut self, node: usize) -> bool;
}

pub(crate) struct World {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) groups: Vec<Arc<str>>,
    pub(crate) ledger: Ledger,
    is_publishing: AtomicBool,
}

impl World {
    pub(crate) fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::Relaxed)
    }

    /// Connects to some node.
    pub(crate) async fn connect(&self) -> nexios::Result<WebSocket> {
        self.connect_to(fastrand::usize(..self.addresses.len())).await
    }

    pub(crate) async fn connect_to(&self, node: usize) -> nexios::Result<WebSocket> {
        let url = format!("ws://{}/", self.addresses[node]);
        Connect::new(url).config(Config::new().handshake_timeout(PATIENCE)).connect().await
    }
}

/// Runs a storm, and fails when a stream has a gap that nobody told of.
pub(crate) fn storm(nodes: impl Nodes) {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(rage(nodes));
    runtime.shutdown_timeout(Duration::from_secs(1));
}

async fn rage(mut nodes: impl Nodes) {
    let (seed, name) = (crate::seed(), nodes.name());
    println!("\n{name}: NEXIOS_STORM_SEED={seed}");
    let world = Arc::new(World {
        addresses: nodes.addresses(),
        groups: GROUPS.map(Arc::from).into(),
        ledger: Ledger::new(),
        is_publishing: AtomicBool::new(true),
    });
    let group = |number: usize| Arc::clone(&world.groups[number % GROUPS.len()]);
    let clients: Arc<Vec<Client>> = Arc::new((0..CLIENTS).map(|number| Client::new(number, group(number))).collect());
    for number in 0..CLIENTS {
        let (world, clients) = (Arc::clone(&world), Arc::clone(&clients));
        tokio::spawn(async move { clients[number].live(&world).await });
    }
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { publish(&world, Duration::from_millis(50)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let end = Instant::now() + crate::duration();
    let cutting = tokio::spawn(cut_clients(Arc::clone(&clients), end, seed));
    let disturbed = Arc::clone(&world);
    let mut nodes = tokio::task::spawn_blocking(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        for turn in 0.. {
            if Instant::now() > end {
                break;
            }
            nodes.disturb(turn, &disturbed.ledger, &mut random);
            std::thread::sleep(Duration::from_millis(random.u64(200..1500)));
        }
        nodes
    })
    .await
    .unwrap();
    cutting.await.unwrap();

    // Some of what is published comes after all trouble.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.is_publishing.store(false, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let streams = || clients.iter().map(Client::stream).collect::<Vec<_>>();
    let wrong = until_whole(&world, streams).await;
    tell(name, &world, &streams());
    assert!(wrong.is_empty(), "{} with seed {seed}, {} faults:\n{}", name, wrong.len(), first_lines(&wrong));
    presence(&world, &mut nodes).await;
}

/// Cuts some clients again and again.
async fn cut_clients(clients: Arc<Vec<Client>>, end: Instant, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed ^ 1);
    while Instant::now() < end {
        for _ in 0..random.usize(1..40) {
            clients[random.usize(..CLIENTS)].cut.notify_one();
        }
        tokio::time::sleep(Duration::from_millis(random.u64(100..1000))).await;
    }
}

/// The remaining faults, checked until there are none or they no longer decrease.
async fn until_whole(world: &World, streams: impl Fn() -> Vec<Stream>) -> Vec<String> {
    let deadline = Instant::now() + SETTLED + Duration::from_secs(5);
    loop {
        let wrong = check(&world.ledger.entries(), &streams());
        if wrong.is_empty() || Instant::now() > deadline {
            return wrong;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The figures of a run.
fn tell(name: &str, world: &World, streams: &[Stream]) {
    let entries = world.ledger.entries();
    let segments = || streams.iter().flat_map(|stream| &stream.segments);
    let seen: usize = segments().map(|segment| segment.seen.len()).sum();
    let count = |is_it: fn(&Because) -> bool| segments().filter(|segment| is_it(&segment.because)).count();
    let certain = entries.publications.iter().filter(|publication| entries.is_certain(publication)).count();
    println!(
        "{name}: {} publications ({certain} certain), {seen} deliveries; gaps told: {}, not recovered: {}, joined: {}; \
         {} outages, {} nodes killed",
        entries.publications.len(),
        count(|because| *because == Because::Gap),
        count(|because| matches!(because, Because::NotRecovered(_))),
        count(|because| *because == Because::Joined),
        entries.outages.len(),
        entries.kills.len(),
    );
    let outages = entries.outages.iter().map(|outage| {
        let to = outage.to.map(|to| entries.at(to)).unwrap_or_default();
        (outage.from, format!("{} until {to}", outage.what))
    });
    let kills = entries.kills.iter().map(|(node, at)| (*at, format!("node {node} killed")));
    let mut events: Vec<_> = outages.chain(kills).collect();
    events.sort();
    for (at, what) in events {
        println!("{name}: {} s: {what}", entries.at(at));
    }
}

/// All nodes count all members and users once; those of a node that was killed come again elsewhere, and count once
/// then.
async fn presence(world: &World, nodes: &mut impl Nodes) {
    count_on(world, &[0, 1, 2], SETTLED).await;
    if nodes.kill(0) {
        count_on(world, &[1, 2], nexios_nodes::NODE_TTL + SETTLED).await;
    }
}

async fn count_on(world: &World, nodes: &[usize], limit: Duration) {
    let deadline = Instant::now() + limit;
    for node in nodes {
        for group in &world.groups {
            let (mut last, each) = (None, (CLIENTS / GROUPS.len()) as u64);
            while last != Some((each, each)) {
                assert!(Instant::now() < deadline, "node {node} counts {last:?} connections and users in {group}");
                last = tokio::time::timeout(PATIENCE, count(world, *node, group)).await.ok().and_then(Result::ok);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn count(world: &World, node: usize, group: &str) -> nexios::Result<(u64, u64)> {
    let mut websocket = world.connect_to(node).await?;
    websocket.send_json(&Command::Count(group.to_owned())).await?;
    let answer: Value = websocket.receive_json().await?;
    let numbers = answer["connections"].as_u64().zip(answer["users"].as_u64());
    numbers.ok_or_else(|| nexios::Error::other("no count"))
}

fn first_lines(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().take(20).map(|line| line.chars().take(300).collect()).collect();
    lines.join("\n")
}
