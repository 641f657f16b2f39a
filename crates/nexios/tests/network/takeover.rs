//! A new process that takes over the port from an old one, and sockets that come from somebody else (`LISTEN_FDS`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::child::{in_front_of_this_binary, missing};
use crate::peer::Peer;
use crate::server::Server;
use crate::waiting::{PATIENCE, alone, block_on, wait_until_async, within};

/// How often in a row clients connect while two processes change places.
const TAKEOVERS: usize = 5;

#[test]
fn while_a_second_process_takes_over_no_connection_is_refused_or_reset() {
    let _alone = alone();
    let mut old = Server::start("reuse_port=1 drain_deadline=5000");
    let address = old.address;
    block_on(async {
        let (over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients: Vec<_> = (0..8)
            .map(|_| tokio::spawn(connect_again_and_again(address, Arc::clone(&over), Arc::clone(&served))))
            .collect();
        for _ in 0..TAKEOVERS {
            let so_far = served.load(Ordering::Relaxed);
            wait_until_async(PATIENCE, "the old one serves", || served.load(Ordering::Relaxed) > so_far + 200).await;
            let mut command = Server::command("reuse_port=1 drain_deadline=5000");
            let new = Server::run(command.env("NEXIOS_PORT", address.port().to_string()));
            old.signal(Signal::TERM);
            let so_far = served.load(Ordering::Relaxed);
            wait_until_async(PATIENCE, "the new one serves", || served.load(Ordering::Relaxed) > so_far + 200).await;
            assert_eq!(old.child.ended(PATIENCE).code(), Some(0), "{:#?}", old.log());
            old = new;
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            within(client).await.unwrap().unwrap();
        }
        println!("{} connections over {TAKEOVERS} takeovers", served.load(Ordering::Relaxed));
    });
}

/// A connection counts as served when it was answered; that the old process closes it later with 1001 is its right.
async fn connect_again_and_again(
    server: SocketAddr,
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) -> io::Result<()> {
    while !over.load(Ordering::Relaxed) {
        let mut peer = within(Peer::connect(server, "/echo")).await?;
        peer.send(crate::peer::TEXT, "hello").await?;
        let first = within(peer.next()).await?;
        if first.opcode() == crate::peer::CLOSE {
            assert_eq!(first.into_close().0, 1001);
        }
        served.fetch_add(1, Ordering::Relaxed);
        // Ports are given back at once.
        peer.abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[test]
fn a_second_process_that_does_not_ask_for_it_finds_the_port_taken() {
    let first = Server::start("reuse_port=1");
    let mut command = Server::command("");
    command.env("NEXIOS_PORT", first.address.port().to_string());
    let mut second = crate::child::Child::start(&mut command);
    assert!(!second.ended(PATIENCE).success());
}

#[test]
fn a_socket_of_systemd_is_served_instead_of_an_address() {
    // It lets sockets wait until somebody connects, and only then starts the server.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let listen = format!("--listen={address}");
    let words = ["systemd-socket-activate", &listen, "-E", "NEXIOS_NETWORK_SERVER=drain_deadline=2000"];
    if let Err(error) = Command::new(words[0]).arg("--version").output() {
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        missing(words[0], "systemd");
    }
    let mut command = in_front_of_this_binary(&words, crate::server::ROLE);
    let mut activated = crate::child::Child::start(&mut command);
    activated.line("Listening on");
    block_on(async {
        let peer = within(Peer::connect(address, "/echo")).await;
        let mut peer = peer.unwrap_or_else(|error| panic!("{error}: {:#?}", activated.log()));
        peer.echo("who started you?").await.unwrap();
        activated.signal(Signal::TERM);
        assert_eq!(within(peer.closed()).await.unwrap().0, 1001);
    });
    assert_eq!(activated.ended(PATIENCE).code(), Some(0), "{:#?}", activated.log());
}
