//! Servers that belong together, and what is asked of them beside the backplane.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexios::backplane::Keep;
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::{Engine, Setup, free_port};

pub(crate) const KEEP: Keep = Keep { messages: 1000, bytes: 1024 * 1024, age: Duration::from_mins(1) };

/// What a server answers to a command, without quotes.
pub(crate) fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["--no-auth-warning", "-p", &port.to_string()]).args(words).output();
    let output = output.expect("redis-cli");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { text } else { format!("{text}{}", String::from_utf8_lossy(&output.stderr)) }
}

/// Waits at most 30 s, for something that no task of the test has to do.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// As [`wait_until`], while the node that it depends on goes on.
pub(crate) async fn comes(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How often something has happened to a node.
pub(crate) fn count(happened: &[Happening], is_such: impl Fn(&Happening) -> bool) -> usize {
    happened.iter().filter(|happening| is_such(happening)).count()
}

/// Waits until a node is connected for the nth time.
pub(crate) async fn connected(node: &TestNode, times: usize) {
    node.wait_until("connected", |happened| count(happened, |h| matches!(h, Happening::Connected)) >= times).await;
}

const CLUSTER: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

/// A cluster of three masters.
pub(crate) struct Cluster(pub(crate) Vec<Engine>);

impl Cluster {
    pub(crate) fn start() -> Self {
        let engines: Vec<_> = (0..3).map(|_| Setup::redis().arguments(CLUSTER).start()).collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create", "--cluster-yes"]);
        command.args(engines.iter().map(|engine| engine.address().to_string()));
        let output = command.stdin(Stdio::null()).output().expect("redis-cli");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self(engines);
        for engine in &cluster.0 {
            wait_until("the cluster", || cli(engine.port(), &["cluster", "info"]).contains("cluster_state:ok"));
        }
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.0.iter().map(|engine| engine.address().to_string()).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// Gives a master a replica, which has all of its data.
    pub(crate) fn add_replica(&mut self, of: usize) {
        let replica = Setup::redis().arguments(CLUSTER).start();
        let master = cli(self.0[of].port(), &["cluster", "myid"]);
        cli(replica.port(), &["cluster", "meet", "127.0.0.1", &self.0[of].port().to_string()]);
        wait_until("the replica", || cli(replica.port(), &["cluster", "replicate", &master]) == "OK");
        let is_up = || cli(replica.port(), &["info", "replication"]).contains("master_link_status:up");
        wait_until("the replica", is_up);
        for engine in &self.0 {
            let has_heard = || cli(engine.port(), &["cluster", "nodes"]).contains("slave");
            wait_until("word of the replica", has_heard);
        }
        self.0.push(replica);
    }

    /// Moves a slot with all that is in it.
    pub(crate) fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to);
        self.end_move(slot, from, to);
    }

    /// Moves the slot itself.
    pub(crate) fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, target) = (slot.to_string(), cli(self.0[to].port(), &["cluster", "myid"]));
        for port in [&self.0[to], &self.0[from]].into_iter().chain(&self.0).map(Engine::port) {
            cli(port, &["cluster", "setslot", &slot, "node", &target]);
        }
    }

    /// Moves all that is in a slot, which stays where it is.
    pub(crate) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let id = |index: usize| cli(self.0[index].port(), &["cluster", "myid"]);
        let (slot, source, target) = (slot.to_string(), id(from), id(to));
        let (here, there) = (self.0[from].port(), self.0[to].port());
        cli(there, &["cluster", "setslot", &slot, "importing", &source]);
        cli(here, &["cluster", "setslot", &slot, "migrating", &target]);
        for key in cli(here, &["cluster", "getkeysinslot", &slot, "1000"]).lines() {
            assert_eq!(cli(here, &["migrate", "127.0.0.1", &there.to_string(), key, "0", "5000"]), "OK");
        }
    }
}

/// A sentinel that may decide on its own.
pub(crate) struct Sentinel {
    process: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Sentinel {
    pub(crate) fn watch(master: &Engine) -> Self {
        let port = free_port(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let folder = std::env::temp_dir().join(format!("nexios-sentinel-{port}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("sentinel.conf");
        let watched = master.port();
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            folder.display()
        );
        fs::write(&file, text).expect("a file");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().expect("redis-server");
        let sentinel = Self { process, folder, port };
        wait_until("the sentinel", || cli(port, &["ping"]) == "PONG");
        sentinel
    }

    pub(crate) fn master(&self) -> String {
        cli(self.port, &["sentinel", "get-master-addr-by-name", "main"])
    }

    pub(crate) fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}/main", self.port)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
