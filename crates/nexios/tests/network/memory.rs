//! Attacks on memory, all at once, in a process that may have 256 MiB (faults.md, row 58; its rows 15, 23, 29 and 34).
//!
//! The bound is `RLIMIT_DATA`: beyond it the kernel gives no memory, and the allocator ends the process, as the kernel's
//! killer would at the bound of a control group. Unlike that, it is there on every machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::peer::{BINARY, Peer, TEXT, raw_frame};
use crate::server::Server;
use crate::waiting::{alone, block_on, within};

const FIN: u8 = 0x80;
/// The mark of a compressed message (RFC 7692 §6).
const RSV1: u8 = 0x40;
const BOUND_KIB: usize = 256 * 1024;
const TIME: Duration = Duration::from_secs(8);
/// Of each kind.
const ATTACKERS: usize = 100;

#[test]
fn a_process_of_256_mib_lives_through_attacks_on_its_memory_and_serves_others_meanwhile() {
    let _alone = alone();
    // What it would choose by itself in a control group of this size: a quarter.
    let mut server = Server::start("buffered_bytes=67108864");
    let bound = Rlimit { current: Some(BOUND_KIB as u64 * 1024), maximum: Some(BOUND_KIB as u64 * 1024) };
    prlimit(Some(server.pid()), Resource::Data, bound).unwrap();
    let address = server.address;
    let attacks: [Vec<u8>; 4] = [nearly_a_mebibyte(), tiny_fragments(), bomb(), more_than_anybody_reads()];
    block_on(async {
        let mut bystander = Peer::connect(address, "/echo").await.unwrap();
        let (mut attackers, until) = (JoinSet::new(), Instant::now() + TIME);
        for attack in attacks.map(Arc::<[u8]>::from) {
            for _ in 0..ATTACKERS {
                attackers.spawn(again(until, address, Arc::clone(&attack)));
            }
        }
        let mut longest = Duration::ZERO;
        while Instant::now() < until {
            let asked = Instant::now();
            bystander.echo("still there?").await.unwrap();
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let tries: usize = within(attackers.join_all()).await.into_iter().sum();
        let (peak, now) = (server.memory_kib("VmHWM"), server.memory_kib("VmRSS"));
        println!("{tries} attacks; {peak} KiB at most, {now} KiB now; the longest echo took {longest:?}");
        assert!(server.child.is_alive(), "{:#?}", server.log());
        assert!(peak < BOUND_KIB, "{peak} KiB");
        let mut newcomer = within(Peer::connect(address, "/echo")).await.unwrap();
        newcomer.echo("and me?").await.unwrap();
    });
}

/// Writes it for as long as the server takes it, waits without reading, and goes. Returns how often.
async fn again(until: Instant, server: SocketAddr, attack: Arc<[u8]>) -> usize {
    let mut tries = 0;
    while Instant::now() < until {
        // However it ends.
        let _: Result<io::Result<()>, _> = tokio::time::timeout_at(until.into(), write(server, &attack)).await;
        tries += 1;
    }
    tries
}

async fn write(server: SocketAddr, attack: &[u8]) -> io::Result<()> {
    let stream = TcpStream::connect(server).await?;
    let mut peer = Peer::upgrade(stream, "/echo", &["Sec-WebSocket-Extensions: permessage-deflate"]).await?;
    let _: Result<io::Result<()>, _> =
        tokio::time::timeout(Duration::from_secs(3), peer.stream.write_all(attack)).await;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1_000..3_000))).await;
    peer.abort();
    Ok(())
}

/// Row 15: an announced length, and all of it but the end.
fn nearly_a_mebibyte() -> Vec<u8> {
    let mut frame = raw_frame(FIN | BINARY, &vec![b'm'; 1024 * 1024 - 1]);
    frame.pop();
    frame
}

/// Row 23: a message of 16,000 fragments that goes on.
fn tiny_fragments() -> Vec<u8> {
    let mut frames = raw_frame(TEXT, b"f");
    frames.extend(raw_frame(0, b"f").repeat(15_999));
    frames
}

/// Row 29: 16 MiB in 16 KiB.
fn bomb() -> Vec<u8> {
    let mut deflated = Vec::with_capacity(64 * 1024);
    let mut compress = Compress::new(Compression::fast(), false);
    compress.compress_vec(&vec![0; 16 * 1024 * 1024], &mut deflated, FlushCompress::Sync).unwrap();
    raw_frame(FIN | RSV1 | BINARY, &deflated[..deflated.len() - 4])
}

/// Row 34: 16 MiB, all of which come back.
fn more_than_anybody_reads() -> Vec<u8> {
    raw_frame(FIN | BINARY, &vec![b'r'; 64 * 1024]).repeat(256)
}
