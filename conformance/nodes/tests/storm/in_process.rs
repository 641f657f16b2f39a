//! Three apps in this process, joined by memory: what the check and the framework do without an engine's own troubles.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use nexios::backplane::{Memory, MemoryNode};

use crate::crowd::Nodes;
use crate::ledger::Ledger;

pub(crate) struct InProcess {
    memory: Memory,
    nodes: Vec<(MemoryNode, SocketAddr)>,
}

impl InProcess {
    pub(crate) fn start() -> Self {
        let memory = Memory::new();
        let nodes = (0..3).map(|_| serve(memory.node())).collect();
        Self { memory, nodes }
    }
}

/// Serves an app on a thread of its own, which ends with the process.
fn serve(node: MemoryNode) -> (MemoryNode, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let app = nexios_nodes::app(node.clone());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { app.serve(tokio::net::TcpListener::from_std(listener).unwrap()).await.unwrap() });
    });
    (node, address)
}

impl Nodes for InProcess {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|(_, address)| *address).collect()
    }

    fn disturb(&mut self, turn: usize, ledger: &Ledger, random: &mut fastrand::Rng) {
        let number = random.usize(..self.nodes.len());
        let node = &self.nodes[number].0;
        let what = ["cut off", "answers lost", "frozen", "restarted empty"][turn % 4];
        let outage = ledger.begins(&format!("node {number} {what}"));
        match what {
            "cut off" => node.cut(),
            "answers lost" => node.lose_answers(),
            "frozen" => node.freeze(),
            _ => self.memory.restart_empty(),
        }
        thread::sleep(Duration::from_millis(random.u64(100..3000)));
        node.heal();
        ledger.ends(outage);
    }

    fn kill(&mut self, _node: usize) -> bool {
        false
    }
}
