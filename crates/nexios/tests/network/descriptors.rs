//! No descriptors left: the server rests, says so once, and comes back by itself (faults.md, row 40).

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::net::TcpStream;

use crate::peer::Peer;
use crate::server::Server;
use crate::waiting::{alone, block_on, within};

#[test]
fn without_descriptors_the_server_rests_and_serves_whom_it_has_and_takes_others_again_once_it_can() {
    let _alone = alone();
    let server = Server::start("");
    let all = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(Some(server.pid()), Resource::Nofile, all).unwrap();
    block_on(async {
        let mut served = Vec::new();
        for _ in 0..10 {
            served.push(Peer::connect(server.address, "/echo").await.unwrap());
        }
        let mut others = Vec::new();
        for _ in 0..200 {
            // The kernel's own queue takes those whom the server cannot.
            others.push(within(TcpStream::connect(server.address)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = server.cpu();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            for peer in &mut served {
                let asked = Instant::now();
                peer.echo("still here").await.unwrap();
                assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // A hundred echoes are a part of it.
        let used = server.cpu() - before;
        println!("{used:?} of CPU in 5 s without descriptors; log: {:#?}", server.log());
        assert!(used < Duration::from_millis(200), "{used:?}");
        let lines = server.log().iter().filter(|line| line.contains("os error 24")).count();
        assert_eq!(lines, 1, "{:#?}", server.log());

        drop(others);
        let freed = Instant::now();
        let mut newcomer = within(Peer::connect(server.address, "/echo")).await.unwrap();
        newcomer.echo("hello").await.unwrap();
        println!("a newcomer is served {:?} after", freed.elapsed());
        assert!(freed.elapsed() < Duration::from_secs(1), "{:?}", freed.elapsed());
        for peer in &mut served {
            peer.echo("and those").await.unwrap();
        }
    });
}
