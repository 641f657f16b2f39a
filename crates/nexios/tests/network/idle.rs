//! What connections cost that do nothing but answer pings (faults.md, row 57).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;

use crate::child::Child;
use crate::peer::{PING, PONG, Peer};
use crate::server::Server;
use crate::waiting::{alone, block_on};

/// So many connections, pinged every 20 s for two rounds, instead of 2,000 pinged every 2 s.
const ASKED_FOR: &str = "NEXIOS_IDLE";
/// One address has 28,000 ports.
const PER_ADDRESS: usize = 10_000;
const AT_ONCE: usize = 200;

#[test]
fn pings_of_idle_connections_are_spread_and_cost_next_to_nothing() {
    let _alone = alone();
    let asked_for = std::env::var(ASKED_FOR).ok().map(|n| n.parse().unwrap());
    // Each of both processes has a few descriptors for other things.
    let most = getrlimit(Resource::Nofile).current.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX) - 100;
    let (clients, interval) = match asked_for {
        Some(n) if n <= most => (n, Duration::from_secs(20)),
        Some(n) => panic!("this process may have {most} descriptors, not {n}: see ulimit -n"),
        None => (2_000.min(most), Duration::from_secs(2)),
    };
    let server = Server::start(&format!("ping_interval={}", interval.as_millis()));
    block_on(watch(&server, clients, interval));
}

/// Two intervals, the first of which began when the last one had connected.
async fn watch(server: &Server, clients: usize, interval: Duration) {
    let (idle, began) = (server.memory_kib("VmRSS"), Instant::now());
    let peers = connect_all(server.address, clients).await;
    println!("{clients} connections in {:?}, {} KiB more", began.elapsed(), server.memory_kib("VmRSS") - idle);
    let begin = Instant::now();
    let end = begin + interval + interval;
    let mut answers = JoinSet::new();
    for peer in peers {
        answers.spawn(answer_pings(peer, begin, end));
    }
    let cpu = spread_of_cpu(server, begin, end).await;
    let pings: Vec<Duration> = answers.join_all().await.into_iter().flatten().collect();

    let share = cpu.as_secs_f64() / (interval * 2).as_secs_f64();
    println!("{} pings, {cpu:?} of CPU: {:.2} % of a core", pings.len(), share * 100.0);
    // Nobody was forgotten, and nobody was pinged twice as often.
    assert!((clients * 2 * 9 / 10..=clients * 2 * 11 / 10 + 10).contains(&pings.len()), "{} pings", pings.len());
    let busiest = busiest_twentieth(&pings, interval);
    let average = pings.len() / 40;
    println!("in the busiest twentieth of an interval {busiest} pings, {average} on average");
    assert!(busiest <= 3 * average, "{busiest} pings, {average} on average");
    // 2 % of a core for 20,000 in a build for release: a ping costs 20 µs with all that belongs to it.
    let allowed = if cfg!(debug_assertions) { 5.0 } else { 1.0 } * 0.02 * (pings.len() as f64 / 40_000.0)
        / ((interval * 2).as_secs_f64() / 40.0);
    assert!(share < allowed, "{:.2} % of a core, {:.2} % allowed", share * 100.0, allowed * 100.0);
}

async fn connect_all(server: SocketAddr, clients: usize) -> Vec<Peer> {
    let (mut under_way, mut peers) = (JoinSet::new(), Vec::with_capacity(clients));
    for n in 0..clients {
        let host = u8::try_from(n / PER_ADDRESS).unwrap() + 2;
        let connect = Peer::connect_from(([127, 0, 0, host], 0).into(), server, "/echo");
        under_way.spawn(connect);
        if under_way.len() >= AT_ONCE {
            peers.push(under_way.join_next().await.unwrap().unwrap().unwrap());
        }
    }
    peers.extend(under_way.join_all().await.into_iter().map(Result::unwrap));
    peers
}

/// Returns when pings came.
async fn answer_pings(mut peer: Peer, begin: Instant, end: Instant) -> Vec<Duration> {
    let mut pings = Vec::new();
    let answer = async {
        loop {
            let frame = peer.frame().await.unwrap();
            assert_eq!(frame.opcode(), PING, "{frame:?}");
            pings.push(begin.elapsed());
            peer.send(PONG, frame.payload).await.unwrap();
        }
    };
    // It ends by the clock.
    let _: Result<(), _> = tokio::time::timeout_at(end.into(), answer).await;
    pings
}

async fn spread_of_cpu(server: &Child, begin: Instant, end: Instant) -> Duration {
    tokio::time::sleep_until(begin.into()).await;
    let before = server.cpu();
    tokio::time::sleep_until(end.into()).await;
    server.cpu() - before
}

/// A second of 20, whatever the interval is.
fn busiest_twentieth(pings: &[Duration], interval: Duration) -> usize {
    let mut slots = [0; 40];
    for at in pings {
        // Those of the last moment belong to the last slot.
        slots[((at.as_nanos() * 20 / interval.as_nanos()) as usize).min(39)] += 1;
    }
    slots.into_iter().max().unwrap_or_default()
}
