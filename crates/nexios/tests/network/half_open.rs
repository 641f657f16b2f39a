//! Peers that are gone without a word: a network that goes down, a process that is stopped (faults.md, row 51).

use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::child::{Child, in_front_of_this_binary};
use crate::namespace::{self, in_a_network_of_its_own, ip};
use crate::peer::Peer;
use crate::server::Server;
use crate::waiting::{PATIENCE, block_on, wait_until, within};

const CLIENT: &str = "NEXIOS_NETWORK_CLIENT";
const OPTIONS: &str = "ping_interval=1000 ping_timeout=1000";
/// Interval and timeout, and what a machine that is busy adds.
const DEADLINE: Duration = Duration::from_millis(2_000 + 500);

#[test]
fn a_peer_whose_network_goes_down_is_given_up_within_ping_interval_and_timeout() {
    in_a_network_of_its_own("half_open::scenario", "silent");
}

#[test]
fn unsent_bytes_do_not_keep_a_peer_whose_network_went_down() {
    in_a_network_of_its_own("half_open::scenario", "unsent");
}

#[test]
fn a_peer_that_is_stopped_is_given_up_within_ping_interval_and_timeout() {
    in_a_network_of_its_own("half_open::scenario", "stopped");
}

/// What goes on in the namespace. Without its variable, it has nothing to do.
#[test]
fn scenario() {
    if let Some(name) = namespace::scenario() {
        lose_a_peer(&name);
    }
}

fn lose_a_peer(scenario: &str) {
    let server = Server::run(Server::command(OPTIONS).env("NEXIOS_HOST", "0.0.0.0"));
    let port = server.address.port();
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    let events = watch(here);
    assert!(next(&events).contains("present"));
    let before = server.descriptors();

    let client = far_client(port);
    let joined = next(&events);
    assert!(joined.contains(r#""join""#) && joined.contains("far"), "{joined}");
    // Its first pongs have come, so that it is the silence that counts.
    std::thread::sleep(Duration::from_millis(1_500));

    let lost = Instant::now();
    match scenario {
        "stopped" => client.signal(Signal::STOP),
        _ => far(&client, &["link", "set", "far", "down"]),
    }
    if scenario == "unsent" {
        block_on(async {
            let mut flooder = Peer::connect(here, "/flood").await.unwrap();
            assert_eq!(within(flooder.closed()).await.unwrap().0, 1000);
        });
    }
    let mut seen = [next(&events), next(&events)];
    let took = lost.elapsed();
    seen.sort();
    assert!(
        seen.contains(&r#"{"group":"room","data":"far ended: KeepaliveTimeout"}"#.to_owned()),
        "after {took:?}: {seen:?}"
    );
    assert!(seen.iter().any(|text| text.contains(r#""leave""#) && text.contains("far")), "{seen:?}");
    assert!(took < DEADLINE, "{took:?}");
    wait_until(PATIENCE, "its descriptor is gone", || server.descriptors() <= before);
    println!("\n{scenario}: given up after {took:?}");
    if scenario == "unsent" {
        // TCP_USER_TIMEOUT: else its bytes would stay in the kernel for a quarter of an hour.
        let took = wait_until(PATIENCE, "the kernel has let go of it", || !is_known_to_the_kernel());
        println!("{scenario}: forgotten by the kernel {took:?} later");
    }
}

/// Somebody in the room, on a thread of its own: pings are answered whatever the test does. Returns what it is told.
fn watch(server: SocketAddr) -> Receiver<String> {
    let (tell, events) = mpsc::channel();
    std::thread::spawn(move || {
        block_on(async {
            let mut watcher = Peer::connect(server, "/room?user=watcher").await.unwrap();
            while let Ok(frame) = watcher.next().await {
                // What it is flooded with is not for it.
                if frame.payload.len() < 10_000 && tell.send(String::from_utf8(frame.payload).unwrap()).is_err() {
                    return;
                }
            }
        });
    });
    events
}

fn next(events: &Receiver<String>) -> String {
    events.recv_timeout(PATIENCE).unwrap()
}

/// Whether there is a socket whose other end is 10.78.0.2, as the kernel writes it.
fn is_known_to_the_kernel() -> bool {
    std::fs::read_to_string("/proc/self/net/tcp").unwrap().contains(" 02004E0A:")
}

// ---- the far end

/// A client in a namespace of its own, whose only link is called `far`.
fn far_client(port: u16) -> Child {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let url = format!("ws://10.78.0.1:{port}/room?user=far");
    let mut command = in_front_of_this_binary(&["unshare", "--net"], "half_open::client");
    let client = Child::start(command.env(CLIENT, url));
    let namespace = format!("/proc/{}/ns/net", client.id());
    wait_until(PATIENCE, "the client has a namespace", || std::fs::read_link(&namespace).is_ok_and(|ns| ns != own));
    let pid = client.id().to_string();
    ip(&["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &pid]);
    ip(&["addr", "add", "10.78.0.1/24", "dev", "near"]);
    ip(&["link", "set", "near", "up"]);
    far(&client, &["addr", "add", "10.78.0.2/24", "dev", "far"]);
    far(&client, &["link", "set", "far", "up"]);
    client
}

/// Connects as soon as it has a network, and answers pings for as long as it is let. Without its variable, it has nothing
/// to do.
#[test]
fn client() {
    let Ok(url) = std::env::var(CLIENT) else { return };
    block_on(async {
        let began = Instant::now();
        let mut websocket = loop {
            match nexios::client::connect(&*url).await {
                Ok(websocket) => break websocket,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        while websocket.receive().await.is_ok() {}
    });
}

fn far(client: &Child, words: &[&str]) {
    let net = format!("--net=/proc/{}/ns/net", client.id());
    namespace::run(Command::new("nsenter").args([&*net, "ip"]).args(words));
}
