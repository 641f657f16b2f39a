//! A node whose link to the engine goes down, without a word to either, in networks that end with their processes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nexios_engines::{Engine, Setup, free_port};
use rustix::process::geteuid;

use crate::crowd::{Nodes, storm};
use crate::engines::Kind;
use crate::ledger::Ledger;
use crate::process::NodeProcess;

const SCENARIO: &str = "NEXIOS_STORM_LINK";

/// The engine's end of the link, and the far node's.
const ENGINE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// The address at which clients reach the far node; this link is never cut.
const HALL: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 1);
const DOOR: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 2);

#[test]
fn streams_are_gapless_or_flagged_when_the_link_to_redis_goes_down() {
    in_a_network_of_its_own("redis");
}

#[test]
fn streams_are_gapless_or_flagged_when_the_link_to_nats_goes_down() {
    in_a_network_of_its_own("nats");
}

/// The scenario in the other network namespace. Without its variable, it does nothing.
#[test]
fn scenario() {
    let Ok(name) = std::env::var(SCENARIO) else { return };
    ip(&["link", "set", "lo", "up"]);
    storm(Linked::start(if name == "redis" { Kind::Redis } else { Kind::Nats }));
}

fn in_a_network_of_its_own(engine: &str) {
    let _alone = crate::alone();
    let words: &[&str] = if geteuid().is_root() { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    let mut command = Command::new("unshare");
    command.args(words).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "link::scenario", "--nocapture", "--test-threads=1"]).env(SCENARIO, engine);
    let output = command.output().unwrap_or_else(|error| panic!("this test needs unshare (util-linux): {error}"));
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!errors.contains("unshare failed"), "this test needs the right to make network namespaces: {errors}");
    assert!(output.status.success(), "{told}\n{errors}");
    told.lines().filter(|line| line.starts_with("link")).for_each(|line| println!("{line}"));
}

/// Two nodes beside the engine, and one behind the link.
struct Linked {
    name: &'static str,
    nodes: Vec<NodeProcess>,
    _engine: Engine,
    _far: Network,
}

impl Linked {
    fn start(kind: Kind) -> Self {
        let far = far_network();
        link(&far, ("near", ENGINE), ("far", FAR));
        link(&far, ("hall", HALL), ("door", DOOR));
        let setup = if kind == Kind::Redis { Setup::redis() } else { Setup::nats() };
        let engine = setup.ip(ENGINE).start();
        let arguments = || kind.arguments(&engine);
        let here = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())));
        let mut nodes = vec![NodeProcess::new(&[], arguments(), here()), NodeProcess::new(&[], arguments(), here())];
        let enter = ["nsenter", &*far.option()];
        nodes.push(NodeProcess::new(&enter, arguments(), SocketAddr::from((DOOR, 14_000))));
        for node in &mut nodes {
            node.start();
        }
        nodes.iter().for_each(NodeProcess::wait_until_it_listens);
        let name = if kind == Kind::Redis { "link to redis" } else { "link to nats" };
        Self { name, nodes, _engine: engine, _far: far }
    }
}

impl Nodes for Linked {
    fn name(&self) -> &'static str {
        self.name
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    fn disturb(&mut self, turn: usize, ledger: &Ledger, random: &mut fastrand::Rng) {
        // Sometimes shorter than anybody notices, sometimes longer than a node counts as there.
        let millis = if turn.is_multiple_of(2) { 4000..8000 } else { 200..2000 };
        let outage = ledger.begins("the link down");
        ip(&["link", "set", "near", "down"]);
        thread::sleep(Duration::from_millis(random.u64(millis)));
        ip(&["link", "set", "near", "up"]);
        ledger.ends(outage);
        // What is on its way is sent again by TCP, after pauses that have grown meanwhile.
        thread::sleep(Duration::from_secs(2));
    }

    fn kill(&mut self, node: usize) -> bool {
        self.nodes[node].kill();
        true
    }
}

/// A network that lasts as long as a process that does nothing.
struct Network(std::process::Child);

impl Network {
    fn option(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.0.id())
    }

    fn ip(&self, words: &[&str]) {
        run(Command::new("nsenter").args([&*self.option(), "ip"]).args(words));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn far_network() -> Network {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let network = Network(Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap());
    let began = Instant::now();
    let path = format!("/proc/{}/ns/net", network.0.id());
    while std::fs::read_link(&path).is_ok_and(|there| there == own) {
        assert!(began.elapsed() < Duration::from_secs(15), "no second network");
        thread::sleep(Duration::from_millis(5));
    }
    network.ip(&["link", "set", "lo", "up"]);
    network
}

/// A cable: the name and the address of this end, and of the far one.
fn link(far: &Network, here: (&str, Ipv4Addr), there: (&str, Ipv4Addr)) {
    let id = far.0.id().to_string();
    ip(&["link", "add", here.0, "type", "veth", "peer", "name", there.0, "netns", &id]);
    ip(&["addr", "add", &format!("{}/24", here.1), "dev", here.0]);
    ip(&["link", "set", here.0, "up"]);
    far.ip(&["addr", "add", &format!("{}/24", there.1), "dev", there.0]);
    far.ip(&["link", "set", there.0, "up"]);
}

fn ip(words: &[&str]) {
    run(Command::new("ip").args(words));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error: io::Error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
