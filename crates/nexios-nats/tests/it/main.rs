//! The backplane against real servers.

mod cluster;
mod conformance;
mod outages;
mod proxy;
mod refusals;
mod streams;

use std::time::Duration;

use nexios::backplane::Keep;
use nexios::testing::backplane::{Happening, TestNode};
use nexios_nats::Nats;

const KEEP: Keep = Keep { messages: 100, bytes: 1 << 20, age: Duration::from_mins(1) };

/// A node that notices within a second that the server is gone.
async fn node(urls: &str) -> TestNode {
    let backplane = Nats::connect(urls).keepalive(Duration::from_millis(300));
    let node = TestNode::start(backplane).await.expect("start");
    node.wait_until("connected", |happened| count(happened, is_connected) == 1).await;
    node
}

fn is_connected(happening: &Happening) -> bool {
    matches!(happening, Happening::Connected)
}

fn is_disconnected(happening: &Happening) -> bool {
    matches!(happening, Happening::Disconnected(_))
}

fn count(happened: &[Happening], is: fn(&Happening) -> bool) -> usize {
    happened.iter().filter(|happening| is(happening)).count()
}
