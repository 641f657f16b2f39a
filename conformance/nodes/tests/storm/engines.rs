//! Three processes, and a real engine between them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use nexios_engines::{Engine, free_port};

use crate::crowd::Nodes;
use crate::ledger::Ledger;
use crate::process::NodeProcess;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Nats,
}

pub(crate) struct Cluster {
    kind: Kind,
    engine: Engine,
    nodes: Vec<NodeProcess>,
    /// Nodes are killed, and nothing else happens: no flag has a reason then.
    is_well: bool,
}

impl Kind {
    pub(crate) fn arguments(self, engine: &Engine) -> [String; 2] {
        let option = if self == Self::Redis { "--redis" } else { "--nats" };
        [option.to_owned(), engine.url()]
    }
}

impl Cluster {
    pub(crate) fn start(kind: Kind) -> Self {
        let engine = if kind == Kind::Redis { Engine::redis() } else { Engine::nats() };
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())));
        let mut nodes: Vec<_> = (0..3).map(|_| NodeProcess::new(&[], kind.arguments(&engine), address())).collect();
        for node in &mut nodes {
            node.start();
        }
        for node in &nodes {
            node.wait_until_it_listens();
        }
        Self { kind, engine, nodes, is_well: false }
    }

    pub(crate) fn with_an_engine_that_is_well(self) -> Self {
        Self { is_well: true, ..self }
    }

    fn disturb_engine(&mut self, turn: usize, ledger: &Ledger, random: &mut fastrand::Rng) {
        let what = ["frozen", "killed", "restarted empty", "rid of its subscribers"][turn % 4];
        let while_it_lasts = Duration::from_millis(random.u64(200..4000));
        let outage = ledger.begins(&format!("engine {what}"));
        match what {
            "frozen" => {
                self.engine.freeze();
                thread::sleep(while_it_lasts);
                self.engine.thaw();
            }
            "killed" => {
                self.engine.kill();
                thread::sleep(while_it_lasts);
                self.engine.restart();
            }
            "restarted empty" => self.engine.restart_empty(),
            _ if self.kind == Kind::Redis => self.kill_subscribers(),
            // There is no such command.
            _ => self.engine.restart(),
        }
        ledger.ends(outage);
    }

    fn disturb_node(&mut self, turn: usize, ledger: &Ledger, random: &mut fastrand::Rng) {
        let number = random.usize(..self.nodes.len());
        let while_it_lasts = Duration::from_millis(random.u64(200..4000));
        let node = &mut self.nodes[number];
        if turn.is_multiple_of(2) {
            ledger.killed(number);
            node.kill();
            thread::sleep(while_it_lasts);
            node.start();
            node.wait_until_it_listens();
        } else {
            let outage = ledger.begins(&format!("node {number} frozen"));
            node.freeze();
            thread::sleep(while_it_lasts);
            node.thaw();
            ledger.ends(outage);
        }
    }

    fn kill_subscribers(&self) {
        let mut stream = TcpStream::connect(self.engine.address()).unwrap();
        stream.write_all(b"CLIENT KILL TYPE pubsub\r\n").unwrap();
        // It has an answer when it is done.
        let _ = stream.read(&mut [0; 16]).unwrap();
    }
}

impl Nodes for Cluster {
    fn name(&self) -> &'static str {
        match (self.kind, self.is_well) {
            (Kind::Redis, false) => "redis",
            (Kind::Redis, true) => "redis is well",
            (Kind::Nats, false) => "nats",
            (Kind::Nats, true) => "nats is well",
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    fn disturb(&mut self, turn: usize, ledger: &Ledger, random: &mut fastrand::Rng) {
        if self.is_well {
            self.disturb_node(0, ledger, random);
        } else if turn.is_multiple_of(2) {
            self.disturb_engine(turn / 2, ledger, random);
        } else {
            self.disturb_node(turn / 2, ledger, random);
        }
    }

    fn kill(&mut self, node: usize) -> bool {
        self.nodes[node].kill();
        true
    }
}
