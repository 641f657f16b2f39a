//! A new process that takes over the port from an old one, and sockets that come from somebody else (`LISTEN_FDS`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::child::{Child, in_front_of_this_binary, missing};
use crate::namespace::{self, in_a_network_of_its_own};
use crate::peer::{CLOSE, Peer, TEXT};
use crate::server::Server;
use crate::waiting::{PATIENCE, block_on, wait_until_async, within};

/// How often in a row clients connect while two processes change places.
const TAKEOVERS: usize = 5;

#[test]
fn while_a_second_process_takes_over_no_connection_is_refused_reset_or_left_without_an_answer() {
    in_a_network_of_its_own("takeover::scenario", "takeover");
}

/// What goes on in the namespace. Without its variable, it has nothing to do.
#[test]
fn scenario() {
    if namespace::scenario().is_some() {
        // Else a connection that comes between the last accept and the listener's end is reset (once in 26,000, with five
        // takeovers in 2,000 connections): the kernel gives it to the other process (Linux 5.14).
        std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").unwrap();
        take_over();
    }
}

fn take_over() {
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
        let mut told = 0;
        for client in clients {
            told += within(client).await.unwrap().unwrap();
        }
        let served = served.load(Ordering::Relaxed);
        println!("\ntakeover: {served} connections over {TAKEOVERS} takeovers, {told} of them told to come back");
        assert!(told < served / 20, "{told} of {served}");
    });
}

/// Each connection is answered: served, or by the old process told when to come back, with 503 or 1001. Returns how many
/// were told.
async fn connect_again_and_again(
    server: SocketAddr,
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) -> io::Result<usize> {
    let mut told = 0;
    while !over.load(Ordering::Relaxed) {
        match within(Peer::connect(server, "/echo")).await {
            Ok(mut peer) => {
                peer.send(TEXT, "hello").await?;
                let first = within(peer.next()).await?;
                if first.opcode() == CLOSE {
                    assert_eq!(first.into_close().0, 1001);
                    told += 1;
                }
                // Ports are given back at once.
                peer.abort();
            }
            Err(error) if error.to_string().starts_with("http/1.1 503 ") => {
                assert!(error.to_string().contains("retry-after"), "{error}");
                told += 1;
            }
            Err(error) => return Err(error),
        }
        served.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(told)
}

#[test]
fn a_second_process_that_does_not_ask_for_it_finds_the_port_taken() {
    let first = Server::start("reuse_port=1");
    let mut command = Server::command("");
    command.env("NEXIOS_PORT", first.address.port().to_string());
    let mut second = Child::start(&mut command);
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
    let mut activated = Child::start(&mut command);
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
