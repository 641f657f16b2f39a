//! More connections than the server takes, or than one address may have (faults.md, rows 6, 7 and 39).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::nginx::Proxied;
use crate::peer::Peer;
use crate::server::Server;
use crate::waiting::{PATIENCE, alone, block_on, wait_until, wait_until_async, within};

#[test]
fn those_above_the_limit_are_told_503_and_those_who_are_there_keep_working() {
    let server = Server::start("connections=100");
    block_on(async {
        let (mut here, refusals) = crowd(server.address, [127, 0, 0, 1], 250).await;
        assert_eq!((here.len(), told(&refusals, 503)), (100, 150));
        for peer in &mut here {
            peer.echo("still here").await.unwrap();
        }
        drop(here);
        // As soon as the server has noticed.
        let mut newcomer = None;
        for _ in 0..100 {
            newcomer = Peer::connect(server.address, "/echo").await.ok();
            if newcomer.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        newcomer.expect("there is room again").echo("hello").await.unwrap();
    });
}

#[test]
fn one_address_takes_no_more_than_its_part_and_leaves_the_others_theirs() {
    let server = Server::start("connections_per_address=20");
    block_on(async {
        let (greedy, refusals) = crowd(server.address, [127, 0, 0, 2], 50).await;
        assert_eq!((greedy.len(), told(&refusals, 429)), (20, 30));
        let (modest, refusals) = crowd(server.address, [127, 0, 0, 3], 20).await;
        assert_eq!((modest.len(), refusals.len()), (20, 0));
    });
}

#[test]
fn behind_nginx_it_is_the_clients_addresses_that_count() {
    let proxied = Proxied::start("connections_per_address=20", "");
    block_on(async {
        let (greedy, refusals) = crowd(proxied.address, [127, 0, 0, 2], 50).await;
        assert_eq!((greedy.len(), told(&refusals, 429)), (20, 30));
        let (modest, refusals) = crowd(proxied.address, [127, 0, 0, 3], 20).await;
        assert_eq!((modest.len(), refusals.len()), (20, 0));
    });
}

#[test]
fn those_who_come_faster_than_they_are_taken_are_told_503_and_may_come_later() {
    let server = Server::start("accept_rate=100");
    block_on(async {
        let (here, refusals) = crowd(server.address, [127, 0, 0, 1], 400).await;
        assert!((100..300).contains(&here.len()), "{} are here", here.len());
        assert_eq!(told(&refusals, 503), 400 - here.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
        Peer::connect(server.address, "/echo").await.unwrap().echo("later").await.unwrap();
    });
}

#[test]
fn those_who_upgrade_and_never_say_anything_are_gone_after_ping_interval_and_timeout() {
    let _alone = alone();
    let server = Server::start("ping_interval=1000 ping_timeout=1000");
    let before = server.descriptors();
    block_on(async {
        let (silent, _) = crowd(server.address, [127, 0, 0, 1], 300).await;
        assert_eq!(silent.len(), 300);
        let took = wait_until_async(PATIENCE, "they are gone", || server.descriptors() <= before).await;
        println!("300 who say nothing were gone after {took:?}");
        assert!(took < Duration::from_millis(2_800), "{took:?}");
        drop(silent);
    });
}

#[test]
fn those_who_connect_and_ask_for_nothing_are_gone_after_the_handshakes_deadline() {
    let _alone = alone();
    let server = Server::start("handshake_timeout=1000");
    let before = server.descriptors();
    block_on(async {
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(within(TcpStream::connect(server.address)).await.unwrap());
        }
        for stream in &mut silent {
            // Some servers say why (408).
            let mut rest = Vec::new();
            let _ = within(stream.read_to_end(&mut rest)).await;
        }
    });
    wait_until(Duration::from_secs(1), "their descriptors are back", || server.descriptors() <= before);
}

/// How many were refused, all with this status or without a word: so that refusing costs next to nothing, no more than 64
/// are told why at the same time.
fn told(refusals: &BTreeMap<u16, usize>, status: u16) -> usize {
    let (why, silently) = (refusals.get(&status).copied().unwrap_or(0), refusals.get(&0).copied().unwrap_or(0));
    println!("{why} were told {status}, {silently} nothing");
    assert_eq!(why + silently, refusals.values().sum::<usize>(), "{refusals:?}");
    assert!(why >= 30, "{refusals:?}");
    why + silently
}

/// So many from one address, at once: those who are in, and how often each refusal came, 0 for a
/// connection that was closed.
async fn crowd(server: SocketAddr, from: impl Into<IpAddr>, many: usize) -> (Vec<Peer>, BTreeMap<u16, usize>) {
    let (mut all, from) = (JoinSet::new(), SocketAddr::from((from.into(), 0)));
    for _ in 0..many {
        all.spawn(Peer::connect_from(from, server, "/echo"));
    }
    let (mut here, mut refusals) = (Vec::new(), BTreeMap::new());
    for connected in within(all.join_all()).await {
        match connected {
            Ok(peer) => here.push(peer),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                *refusals.entry(0).or_default() += 1;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("retry-after:"), "no time to come back: {text}");
                let status = text.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
                *refusals.entry(status).or_default() += 1;
            }
        }
    }
    (here, refusals)
}
