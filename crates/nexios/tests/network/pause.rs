//! Time that goes by without the server: a virtual machine that is moved, a container that is frozen (beside row 57 of
//! faults.md). All deadlines are of the monotonic clock, which does not jump; but it goes on while a process is stopped.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::peer::{PING, PONG, Peer};
use crate::server::Server;
use crate::waiting::{alone, block_on, within};

#[test]
fn a_server_that_was_stopped_gives_up_nobody_who_has_answered_meanwhile() {
    let _alone = alone();
    let server = Server::start("ping_interval=1000 ping_timeout=1000");
    block_on(async {
        let (mut all, mut pinged) = (JoinSet::new(), Vec::new());
        for _ in 0..50 {
            let (first_ping, is_pinged) = tokio::sync::oneshot::channel();
            pinged.push(is_pinged);
            let mut peer = Peer::connect(server.address, "/echo").await.unwrap();
            all.spawn(async move {
                let ping = within(peer.frame()).await.unwrap();
                assert_eq!(ping.opcode(), PING);
                first_ping.send(()).unwrap();
                // In time for the server if it was running.
                tokio::time::sleep(Duration::from_millis(300)).await;
                peer.send(PONG, &ping.payload).await.unwrap();
                let silence = tokio::time::timeout(Duration::from_secs(5), peer.next()).await;
                assert!(silence.is_err(), "{silence:?}");
                peer.echo("still here").await.unwrap();
            });
        }
        // The pings are spread: some have been answered, some were sent just now, some are still to come.
        for is_pinged in pinged.iter_mut().take(25) {
            within(is_pinged).await.unwrap();
        }
        server.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.signal(Signal::CONT);
        within(all.join_all()).await;
    });
}
