//! SIGTERM: nothing that was acknowledged is lost, and the process ends (faults.md, row 52).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::{CLOSE, Peer, TEXT};
use crate::server::Server;
use crate::waiting::{PATIENCE, alone, block_on, wait_until_async, within};

/// With the publisher, as many as a drain closes in its first batch.
const CLIENTS: usize = 499;

#[test]
fn after_sigterm_all_clients_have_every_acknowledged_message_and_a_hint_when_to_come_back() {
    let _alone = alone();
    let mut server = Server::start("drain_deadline=10000");
    let address = server.address;
    let began = block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = Peer::connect(address, "/feed").await.unwrap();
            assert_eq!(client.text().await, "joined");
            clients.push(tokio::spawn(hear(client)));
        }
        let acknowledged = Arc::<AtomicU64>::default();
        let publisher = tokio::spawn(publish(address, Arc::clone(&acknowledged)));
        wait_until_async(PATIENCE, "it publishes", || acknowledged.load(Ordering::Relaxed) >= 100).await;
        let began = Instant::now();
        server.signal(Signal::TERM);
        within(publisher).await.unwrap();
        let acknowledged = acknowledged.load(Ordering::Relaxed);
        let mut hints = Vec::new();
        for client in clients {
            let (numbers, code, reason) = within(client).await.unwrap();
            assert!(numbers >= acknowledged, "{numbers} of {acknowledged} acknowledged");
            assert_eq!(code, 1001, "{reason}");
            hints.push(hint(&reason));
        }
        hints.sort_unstable();
        assert!(hints[0] < 1_000 && hints[CLIENTS - 1] > 4_000, "the hints are spread: {hints:?}");
        began
    });
    let status = server.child.ended(Duration::from_secs(10));
    println!("ended {:?} after SIGTERM", began.elapsed());
    assert_eq!(status.code(), Some(0), "{:#?}", server.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Counts numbered messages up to the Close frame; a gap or a double fails.
async fn hear(mut client: Peer) -> (u64, u16, String) {
    let mut numbers = 0;
    loop {
        let frame = client.next().await.unwrap();
        if frame.opcode() == CLOSE {
            let _ = client.send(CLOSE, &frame.payload).await;
            let (code, reason) = frame.into_close();
            return (numbers, code, reason);
        }
        numbers += 1;
        assert_eq!(String::from_utf8(frame.payload).unwrap(), numbers.to_string());
    }
}

/// Numbers its messages from 1 on, and notes the last one that was acknowledged.
async fn publish(address: SocketAddr, acknowledged: Arc<AtomicU64>) {
    let mut peer = Peer::connect(address, "/publish").await.unwrap();
    for number in 1.. {
        if peer.send(TEXT, number.to_string()).await.is_err() {
            return;
        }
        match within(peer.next()).await {
            Ok(frame) if frame.opcode() == TEXT => {
                assert_eq!(String::from_utf8(frame.payload).unwrap(), number.to_string());
                acknowledged.store(number, Ordering::Relaxed);
            }
            Ok(frame) => {
                assert_eq!(frame.opcode(), CLOSE, "{frame:?}");
                let _ = peer.send(CLOSE, &frame.payload).await;
                return;
            }
            Err(_) => return,
        }
    }
}

/// `…, reconnect in 1234 ms`.
fn hint(reason: &str) -> u64 {
    let number = reason.split_once("reconnect in ").and_then(|(_, rest)| rest.strip_suffix(" ms"));
    number.unwrap_or_else(|| panic!("no hint: {reason:?}")).parse().unwrap()
}

#[test]
fn after_sigterm_readiness_fails_for_as_long_as_a_load_balancer_needs_and_connections_are_still_taken() {
    let _alone = alone();
    let mut server = Server::start("drain_delay=1000 drain_deadline=5000");
    block_on(async {
        let mut early = Peer::connect(server.address, "/echo").await.unwrap();
        assert_eq!(status(server.address, "/readyz").await, 200);
        let began = Instant::now();
        server.signal(Signal::TERM);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(status(server.address, "/readyz").await, 503);
        assert_eq!(status(server.address, "/healthz").await, 200);
        early.echo("still served").await.unwrap();
        let mut late = Peer::connect(server.address, "/echo").await.unwrap();
        late.echo("served as well").await.unwrap();
        for peer in [&mut early, &mut late] {
            assert_eq!(within(peer.closed()).await.unwrap().0, 1001);
        }
        assert!(began.elapsed() >= Duration::from_millis(950), "{:?}", began.elapsed());
    });
    assert_eq!(server.child.ended(Duration::from_secs(5)).code(), Some(0), "{:#?}", server.log());
}

/// Of a GET on a connection of its own.
async fn status(server: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_second_sigterm_ends_the_process_at_once() {
    let _alone = alone();
    let mut server = Server::start("drain_deadline=10000");
    block_on(async {
        let mut stuck = Peer::connect(server.address, "/stuck").await.unwrap();
        server.signal(Signal::TERM);
        assert_eq!(within(stuck.closed()).await.unwrap().0, 1001);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(server.child.is_alive(), "its handler has not ended");
        let second = Instant::now();
        server.signal(Signal::TERM);
        let status = server.child.ended(Duration::from_secs(2));
        assert!(second.elapsed() < Duration::from_millis(500), "{:?}", second.elapsed());
        assert!(!status.success(), "it did not end well");
    });
}

#[test]
fn a_handler_that_never_ends_holds_the_process_up_to_the_deadline_and_no_longer() {
    let _alone = alone();
    let mut server = Server::start("drain_deadline=2000");
    block_on(async {
        let mut stuck = Peer::connect(server.address, "/stuck").await.unwrap();
        let began = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(within(stuck.closed()).await.unwrap().0, 1001);
        let status = server.child.ended(Duration::from_secs(5));
        let took = began.elapsed();
        assert_eq!(status.code(), Some(0));
        assert!((Duration::from_millis(1_900)..Duration::from_millis(2_700)).contains(&took), "{took:?}");
    });
}

#[test]
fn sigint_ends_an_idle_server_at_once() {
    let _alone = alone();
    let mut server = Server::start("");
    let began = Instant::now();
    server.signal(Signal::INT);
    assert_eq!(server.child.ended(Duration::from_secs(2)).code(), Some(0));
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}
